/* What the job does, without its input and output: so a test can call it natively. */
#include "shout.h"

size_t count_lines(const char *text, size_t bytes) {
    size_t lines = 0;
    for (size_t at = 0; at < bytes; at++) {
        lines += text[at] == '\n' || at + 1 == bytes;
    }
    return lines;
}

size_t shout_line(char *text, size_t bytes, size_t from) {
    while (from < bytes) {
        char letter = text[from];
        if (letter >= 'a' && letter <= 'z') {
            text[from] = (char)(letter - 'a' + 'A');
        }
        from++;
        if (letter == '\n') {
            break;
        }
    }
    return from;
}
