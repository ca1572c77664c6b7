#define CRNN_REAL_IS_DOUBLE 0
#define ISA_NAME "avx2"
#define TABLE_NAME core_kernels_avx2_f32
#define TILE_ROWS 3
#define COSTS {5.4, 2.25, 0.25, 1.1, 1, 28, 3100, 3100}

#include "../simd/avx2.h"

#include "../kernels/table.inc"
