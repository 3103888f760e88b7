/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replays the kept inputs of a fuzz target: replay_<target> FOLDER. The inputs run in a child
 * process; when one kills it, that input has failed and a new child goes on behind it. Ends with
 * the line "N passed, N failed" and status 1 if any failed or the folder holds no input.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int is_file(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static uint8_t *read_file(const char *folder, const char *name, size_t *size)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) {
        return NULL;
    }
    FILE *file = fopen(path, "rb");
    struct stat info;
    if (file == NULL || fstat(fileno(file), &info) != 0) {
        perror(path);
        return NULL;
    }
    /* Exactly as large as the input, so that a read behind its end is seen. */
    *size = (size_t)info.st_size;
    uint8_t *data = malloc(*size > 0 ? *size : 1);
    if (data != NULL && fread(data, 1, *size, file) != *size) {
        free(data);
        data = NULL;
    }
    fclose(file);
    return data;
}

/* In the child: runs inputs[*next ..]; *next is shared and names the input that is running. */
static void run_inputs(const char *folder, struct dirent **inputs, int count, volatile int *next)
{
    for (; *next < count; *next += 1) {
        size_t size = 0;
        uint8_t *data = read_file(folder, inputs[*next]->d_name, &size);
        if (data == NULL) {
            exit(1);
        }
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    exit(0); /* not _exit: the leak check runs here */
}

/* Returns the number of failures. A leak shows at the end, when no single input is to blame. */
static int replay(const char *folder, struct dirent **inputs, int count, volatile int *next)
{
    int failures = 0;
    do {
        fflush(stdout);
        const pid_t child = fork();
        if (child == 0) {
            run_inputs(folder, inputs, count, next);
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) < 0) {
            perror("replay");
            return count;
        }
        if (status != 0) {
            printf("failed: %s\n", *next < count ? inputs[*next]->d_name : "leak check");
            failures++;
            *next += 1;
        }
    } while (*next < count);
    return failures;
}

int main(int argc, char **argv)
{
    struct dirent **inputs = NULL;
    const int count = argc == 2 ? scandir(argv[1], &inputs, is_file, alphasort) : -1;
    if (count <= 0) {
        fprintf(stderr, "replay: no inputs in %s\n", argc == 2 ? argv[1] : "(no folder given)");
        puts("0 passed, 1 failed");
        return 1;
    }
    volatile int *next =
        mmap(NULL, sizeof *next, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (next == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    const int failures = replay(argv[1], inputs, count, next);
    printf("%d passed, %d failed\n", failures > count ? 0 : count - failures, failures);
    for (int i = 0; i < count; i++) {
        free(inputs[i]);
    }
    free(inputs);
    return failures == 0 ? 0 : 1;
}
