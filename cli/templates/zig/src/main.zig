//! A job: text in, text out. Its input is standard input, and its output standard output.

const std = @import("std");
const adit = @import("adit.zig");

pub fn main(init: std.process.Init) !void {
    var reader = std.Io.File.stdin().readerStreaming(init.io, &.{});
    const text = try reader.interface.allocRemaining(init.gpa, .unlimited);
    defer init.gpa.free(text);

    const lines = countLines(text);
    var note: [64]u8 = undefined;
    const said = try std.fmt.bufPrint(&note, "shouting {d} lines", .{lines});
    adit.log(adit.LOG_INFO, said.ptr, @intCast(said.len));
    var at: usize = 0;
    for (0..lines) |done| {
        at = shoutLine(text, at);
        adit.progress(done + 1, lines);
    }
    try std.Io.File.stdout().writeStreamingAll(init.io, text);
}

/// How many lines there are; the last one needs no line feed at its end.
fn countLines(text: []const u8) usize {
    const feeds = std.mem.count(u8, text, "\n");
    return feeds + @intFromBool(text.len > 0 and text[text.len - 1] != '\n');
}

/// Makes the letters of one line upper case, and says where the next line begins.
fn shoutLine(text: []u8, from: usize) usize {
    for (text[from..], from..) |*letter, at| {
        letter.* = std.ascii.toUpper(letter.*);
        if (letter.* == '\n') return at + 1;
    }
    return text.len;
}

test "text is shouted" {
    const rows = .{ .{ "", "", 0 }, .{ "who goes\nthere?", "WHO GOES\nTHERE?", 2 }, .{ "a\n\nz{\n", "A\n\nZ{\n", 3 } };
    inline for (rows) |row| {
        var text: [row[0].len]u8 = row[0].*;
        try std.testing.expectEqual(row[2], countLines(&text));
        var at: usize = 0;
        for (0..row[2]) |_| at = shoutLine(&text, at);
        try std.testing.expectEqualStrings(row[1], &text);
    }
}
