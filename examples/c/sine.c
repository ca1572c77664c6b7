/* Trains an LSTM to predict the next value of a sine, with libcrnn alone.
 *
 * x (B, T) are sines with different phases; the target of each step is the next value. The network
 * is an LSTM, whose output of a step is h (H,), and a dense map from h to one number y. */
#include <crnn.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { B = 16, T = 50, H = 16, N = B * T, EPOCHS = 300 };

static void *buffers[20];
static size_t count;

/* Zeros; `main` frees all buffers. */
static void *buffer(size_t bytes) {
    bytes = (bytes / CRNN_ALIGN + 1) * CRNN_ALIGN;
    void *memory = count < 20 ? buffers[count++] = aligned_alloc(CRNN_ALIGN, bytes) : NULL;
    if (!memory) exit(1);
    return memset(memory, 0, bytes);
}

static float *floats(size_t n) { return buffer(n * sizeof(float)); }

int main(void) {
    /* The layers. All parameters lie in one buffer: those of the LSTM, then w (H,), then b. */
    const crnn_kernels *kernels = crnn_kernels_now(CRNN_F32);
    const crnn_layer lstm = {.cell = CRNN_LSTM, .inputs = 1, .hidden = H, .bias = true};
    const crnn_dense dense = {.kernels = kernels, .n = N, .inputs = H, .outputs = 1};
    crnn_layout at;
    crnn_layer_layout(&lstm, &at);
    const size_t w = at.total, b = w + H, total = b + 1;
    float *params = floats(total), *grads = floats(total), *m = floats(total), *v = floats(total);
    for (size_t i = 0; i < total; i++) {
        double number; /* uniform in [0, 1) */
        crnn_random_uniform(0, 0, i, 1, &number);
        params[i] = (float)(number - 0.5) / 2;
    }

    /* The data, and the values and gradients of a pass. */
    float *x = floats(N), *target = floats(N), *y = floats(N), *h = floats(N * H);
    float *dy = floats(N), *dh = floats(N * H);
    for (int i = 0; i < N; i++) {
        const double phase = 0.4 * (i / T), time = 0.2 * (i % T);
        x[i] = (float)sin(phase + time);
        target[i] = (float)sin(phase + time + 0.2);
    }

    /* Functions tell how much memory they need. They fail only if a size overflows. */
    const crnn_steps steps = {.batch = B, .steps = T};
    size_t words, bytes;
    crnn_rows rows;
    crnn_rows_size(&steps, &words);
    crnn_rows_init(&rows, buffer(words * sizeof(size_t)), &steps);
    crnn_tape_size(&lstm, kernels, &rows, &bytes);
    crnn_tape tape = {.kernels = kernels, .memory = buffer(bytes)};
    crnn_forward_args forward = {.layer = &lstm, .kernels = kernels, .rows = &rows, .tape = &tape};
    forward.params = params;
    forward.in.x = (crnn_seq){x, T, 1};
    forward.y = (crnn_seq){h, T * H, H};
    crnn_forward_workspace(&forward, &bytes);
    forward.workspace = buffer(bytes);
    crnn_backward_args backward = {.layer = &lstm, .rows = &rows, .tape = &tape, .grads = grads};
    backward.params = params;
    backward.in = forward.in;
    backward.dy = (crnn_seq){dh, T * H, H};
    crnn_backward_workspace(&backward, &bytes);
    backward.workspace = buffer(bytes);
    crnn_dense_workspace(&dense, &bytes);
    void *dense_work = buffer(bytes);

    /* Training. Backward adds to the gradients, so they become zeros after each step of Adam. */
    crnn_optim_step adam = {.n = total, .scale = 1, .p = params, .g = grads, .lr = 0.02};
    for (uint64_t epoch = 1; epoch <= EPOCHS; epoch++) {
        crnn_forward(&forward);
        crnn_dense_forward(&dense, h, params + w, params + b, y, dense_work);
        const double loss = crnn_squared_error(CRNN_F32, N, y, target, 1.0 / N, dy) / N;
        crnn_dense_backward(&dense, h, params + w, dy, grads + w, grads + b, dh, dense_work);
        crnn_backward(&backward);
        crnn_adam(&adam, 0.9, 0.999, 1e-8, epoch, m, v);
        memset(grads, 0, total * sizeof(float));
        if (epoch % 50 == 0) printf("epoch %3d  loss %.6f\n", (int)epoch, loss);
    }
    printf("after %.3f comes %.3f, predicted %.3f\n", x[T - 1], target[T - 1], y[T - 1]);
    while (count) free(buffers[--count]);
    return 0;
}
