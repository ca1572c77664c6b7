#define CRNN_REAL_IS_DOUBLE 0
#define ISA_NAME "avx2"
#define TABLE_NAME core_kernels_avx2_f32
#define TILE_ROWS 3
#define COSTS {5.5, 1.9, 1.2, 0.8, 4300, 1700}

#include "../simd/avx2.h"

#include "../kernels/table.inc"
