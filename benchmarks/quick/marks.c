/* The marks between which callgrind counts. Outside of valgrind they do nothing. */

#include <valgrind/callgrind.h>

void start(void) { CALLGRIND_START_INSTRUMENTATION; }
void mark(void) { CALLGRIND_DUMP_STATS; }
