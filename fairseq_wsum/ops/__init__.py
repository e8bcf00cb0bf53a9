"""Custom operators, matrix products and the C++ library (csrc/)."""
