// The LSTM and its ablations: see cells/lstm.py. kernels.h names the bits.

template <unsigned Bits>
struct Lstm : Memory {
    static constexpr bool srnn = Bits & SRNN;
    static constexpr bool output_gate = Bits & OUTPUT_GATE;
    static constexpr bool recurrent_gates = Bits & RECURRENT_GATES;
    static constexpr bool memory = Bits & GATES;
    static constexpr bool coupled = Bits & COUPLED;

    // The rows are in torch's order, i f c o.
    static constexpr int I = 0, F = 1, CONTENT = memory ? (coupled ? 1 : 2) : 0, O = CONTENT + 1;
    static constexpr int rows = CONTENT + 1 + output_gate;
    static constexpr int values = rows;
    static constexpr int hidden_rows = (recurrent_gates ? rows - 1 : 0) + srnn;
    static constexpr int place(int k) {
        if (!recurrent_gates) return CONTENT;
        return !srnn && k >= CONTENT ? k + 1 : k;
    }

    using Rows = Values<Lstm>;

    static vf forget_gate(const Rows& r) {
        if constexpr (coupled)
            return 1.0f - r[I];
        else
            return r[F];
    }

    static void activate(Rows& r) {
        if constexpr (srnn) r[CONTENT] = tanh(r[CONTENT]);
        if constexpr (!memory) return;
        for (int k = 0; k < rows; ++k)
            if (k != CONTENT) r[k] = sigmoid(r[k]);
    }

    static vf step(const Rows& r, vf& c) {
        if constexpr (!memory) return r[CONTENT];
        c = r[I] * r[CONTENT] + forget_gate(r) * c;
        if constexpr (output_gate)
            return r[O] * tanh(c);
        else
            return tanh(c);
    }

    static void backward(const Rows& r, vf c_prev, vf c, vf dh, vf& dc, Rows& d) {
        const vf content = r[CONTENT];
        if constexpr (!memory) {
            d[CONTENT] = dh * (1.0f - content * content);
            return;
        }
        const vf tanh_c = tanh(c), i = r[I];
        if constexpr (output_gate) {
            d[O] = dh * tanh_c * r[O] * (1.0f - r[O]);
            dh *= r[O];
        }
        dc += dh * (1.0f - tanh_c * tanh_c);
        if constexpr (coupled) {
            d[I] = (dc * content - dc * c_prev) * i * (1.0f - i);
        } else {
            d[I] = dc * content * i * (1.0f - i);
            d[F] = dc * c_prev * r[F] * (1.0f - r[F]);
        }
        d[CONTENT] = dc * i;
        if constexpr (srnn) d[CONTENT] *= 1.0f - content * content;
        dc *= forget_gate(r);
    }
};
