/* The test: `python3 -m ziglang cc -Isrc test/shout.c src/shout.c -o shout-test && ./shout-test`, or with any C compiler. */
#include <stdio.h>
#include <string.h>

#include "../src/shout.h"

static int check(const char *text, const char *want, size_t want_lines) {
    char loud[64];
    size_t bytes = strlen(text), at = 0, lines = count_lines(text, bytes);
    memcpy(loud, text, bytes);
    for (size_t line = 0; line < lines; line++) {
        at = shout_line(loud, bytes, at);
    }
    if (lines == want_lines && at == bytes && memcmp(loud, want, bytes) == 0) {
        return 0;
    }
    fprintf(stderr, "`%s` became `%.*s`, with %zu lines\n", text, (int)bytes, loud, lines);
    return 1;
}

int main(void) {
    return check("", "", 0) + check("who goes\nthere?", "WHO GOES\nTHERE?", 2) + check("a\n\nz{\n", "A\n\nZ{\n", 3);
}
