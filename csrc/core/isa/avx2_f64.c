#define CRNN_REAL_IS_DOUBLE 1
#define ISA_NAME "avx2"
#define TABLE_NAME core_kernels_avx2_f64
#define TILE_ROWS 3
#define COSTS {5.7, 1.35, 0.55, 0.78, 1, 26, 2000, 1300}

#include "../simd/avx2.h"

#include "../kernels/table.inc"
