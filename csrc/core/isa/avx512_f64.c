#define CRNN_REAL_IS_DOUBLE 1
#define ISA_NAME "avx512"
#define TABLE_NAME core_kernels_avx512_f64
#define TILE_ROWS 7
#define COSTS {6.9, 1.28, 0.817, 2, 0.71, 55, 4500, 3400}

#include "../simd/avx512.h"

#include "../kernels/table.inc"
