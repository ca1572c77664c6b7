/* The version of the library. */
#include "crnn.h"

const char *crnn_version(void) { return CRNN_VERSION; }
