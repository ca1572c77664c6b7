#define CRNN_REAL_IS_DOUBLE 0
#define ISA_NAME "avx512"
#define TABLE_NAME core_kernels_avx512_f32
#define TILE_ROWS 7
#define COSTS {6, 2.1, 1.4, 0.9, 6600, 3300}

#include "../simd/avx512.h"

#include "../kernels/table.inc"
