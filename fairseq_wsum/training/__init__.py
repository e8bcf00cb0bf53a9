"""What training needs besides the layer: loss, dropout, gradients of matrices that steps share."""
