#define CRNN_REAL_IS_DOUBLE 0
#define ISA_NAME "neon"
#define TABLE_NAME core_kernels_neon_f32
#define TILE_ROWS 6
#define COSTS {6, 2, 1.4, 1, 4300, 1700}

#include "../simd/neon.h"

#include "../kernels/table.inc"
