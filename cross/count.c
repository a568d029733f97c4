/* A plugin for qemu-user 7.2 and later: how often each instruction of each function was executed.
 *
 *   gcc -O2 -shared -fPIC -o count.so cross/count.c
 *   qemu-aarch64 -cpu cortex-a72 -plugin ./count.so,out=counts.txt PROGRAM ARGUMENTS
 *
 * writes lines of "count function mnemonic arrangement". Counting is not atomic: run the program on one thread.
 * QEMU's plugin interface is declared here, as far as it is used, because Debian packages no header for it. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *, uint64_t);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

/* One translated block: its instructions, and how often it ran. */
struct block {
    struct block *next;
    uint64_t count;
    size_t instructions;
    char **text; /* "function mnemonic arrangement" */
};

static struct block *blocks;
static char out[4096] = "counts.txt";

/* "fmla v0.4s, v1.4s, v2.s[0]" becomes "fmla 4s": what decides an instruction's cost. A general register gives w or x. */
static char *describe(struct qemu_plugin_insn *insn) {
    const char *symbol = qemu_plugin_insn_symbol(insn);
    char *disassembly = qemu_plugin_insn_disas(insn), *line, arrangement[16] = "-";
    char mnemonic[32] = "?";
    sscanf(disassembly, "%31s", mnemonic);
    char *operand = strpbrk(disassembly, " \t");
    if (operand != NULL) {
        operand += strspn(operand, " \t{");
        char *dot = strchr(operand, '.'), *comma = strpbrk(operand, ",}");
        if (dot != NULL && (comma == NULL || dot < comma))
            sscanf(dot + 1, "%15[0-9bhsd]", arrangement);
        else
            snprintf(arrangement, sizeof arrangement, "%c", *operand);
    }
    if (asprintf(&line, "%s %s %s", symbol != NULL && *symbol ? symbol : "?", mnemonic, arrangement) < 0) abort();
    free(disassembly);
    return line;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    struct block *block = calloc(1, sizeof *block);
    block->instructions = qemu_plugin_tb_n_insns(tb);
    block->text = calloc(block->instructions, sizeof *block->text);
    for (size_t i = 0; i < block->instructions; i++) block->text[i] = describe(qemu_plugin_tb_get_insn(tb, i));
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &block->count, 1);
}

struct line {
    const char *text;
    uint64_t count;
};

static int by_text(const void *a, const void *b) { return strcmp(((const struct line *)a)->text, ((const struct line *)b)->text); }

static void finished(qemu_plugin_id_t id, void *data) {
    (void)id, (void)data;
    size_t total = 0, at = 0;
    for (struct block *block = blocks; block != NULL; block = block->next) total += block->count ? block->instructions : 0;
    struct line *lines = calloc(total + 1, sizeof *lines);
    for (struct block *block = blocks; block != NULL; block = block->next)
        for (size_t i = 0; block->count && i < block->instructions; i++) lines[at++] = (struct line){block->text[i], block->count};
    qsort(lines, total, sizeof *lines, by_text);
    FILE *file = fopen(out, "w");
    if (file == NULL) return perror(out);
    for (size_t i = 0; i < total;) {
        uint64_t sum = 0;
        size_t first = i;
        while (i < total && strcmp(lines[i].text, lines[first].text) == 0) sum += lines[i++].count;
        fprintf(file, "%llu %s\n", (unsigned long long)sum, lines[first].text);
    }
    fclose(file);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++)
        if (strncmp(argv[i], "out=", 4) == 0) snprintf(out, sizeof out, "%s", argv[i] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
