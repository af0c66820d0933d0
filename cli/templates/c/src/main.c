/* A job: text in, text out. Its input is standard input, and its output standard output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adit.h"
#include "shout.h"

/* Writes a line to the job's log. */
static void log_line(int level, const char *text) {
    adit_log(level, text, (uint32_t)strlen(text));
}

/* Reads all of standard input; nothing where there is no memory for it. */
static char *read_input(size_t *bytes) {
    size_t room = 1 << 16;
    char *text = malloc(room);
    *bytes = 0;
    while (text != NULL) {
        *bytes += fread(text + *bytes, 1, room - *bytes, stdin);
        if (*bytes < room) {
            return text;
        }
        room *= 2;
        text = realloc(text, room);
    }
    return NULL;
}

int main(void) {
    size_t bytes;
    char *text = read_input(&bytes);
    if (text == NULL) {
        log_line(ADIT_LOG_ERROR, "the input does not fit into memory");
        return 1;
    }
    size_t lines = count_lines(text, bytes);
    char note[64];
    snprintf(note, sizeof note, "shouting %zu lines", lines);
    log_line(ADIT_LOG_INFO, note);
    size_t at = 0;
    for (size_t done = 1; done <= lines; done++) {
        at = shout_line(text, bytes, at);
        adit_progress(done, lines);
    }
    size_t written = fwrite(text, 1, bytes, stdout);
    free(text);
    /* A full output is noticed here at the latest. */
    return written == bytes && fflush(stdout) == 0 ? 0 : 1;
}
