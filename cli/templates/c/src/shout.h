#ifndef SHOUT_H
#define SHOUT_H

#include <stddef.h>

/* How many lines there are; the last one needs no line feed at its end. */
size_t count_lines(const char *text, size_t bytes);

/* Makes the letters of one line upper case, and says where the next line begins. */
size_t shout_line(char *text, size_t bytes, size_t from);

#endif
