//! What a guest has of its host beside WASI: the functions of the module `adit_1`. Natively, as in tests, they do nothing.

const builtin = @import("builtin");

pub const Level = enum(i32) { err = 1, warn = 2, info = 3, debug = 4, trace = 5 };

const host = struct {
    extern "adit_1" fn log(level: i32, text: [*]const u8, bytes: i32) void;
    extern "adit_1" fn progress(done: i64, total: i64) void;
};

/// Writes a line to the job's log.
pub fn log(level: Level, text: []const u8) void {
    if (comptime builtin.cpu.arch.isWasm()) host.log(@intFromEnum(level), text.ptr, @intCast(text.len));
}

/// Says how far the job is; a total of 0 where that is unknown.
pub fn progress(done: u64, total: u64) void {
    if (comptime builtin.cpu.arch.isWasm()) host.progress(@bitCast(done), @bitCast(total));
}
