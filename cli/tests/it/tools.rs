//! What a guest's author works with: `new`, `build`, `inspect`, `profile`, `dev`; and guests in other languages, and of others' making.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::guest;
use crate::network::{Home, Network};
use crate::process::{PATIENCE, until};

/// Where the compiled guests are, and beside them the compiler for C and Zig, as `cargo xtask guests` leaves them.
fn guests() -> Option<PathBuf> {
    std::env::var_os("ADIT_GUESTS").map(PathBuf::from)
}

/// A guest that `cargo xtask guests` built; nothing where it did not run.
fn built(name: &str) -> Option<PathBuf> {
    let path = guests()?.join(name);
    assert!(path.is_file(), "{} is not there; `cargo xtask guests` builds it", path.display());
    Some(path)
}

/// A user who has compilers: their own folders are the machine's, as a fresh one would first build C's library again.
struct Author {
    home: Home,
    env: Vec<(&'static str, OsString)>,
}

impl Author {
    /// Nothing where the tests run without `cargo xtask guests`, which sees to the compilers.
    fn new() -> Option<Self> {
        let guests = guests()?;
        let target = guests.parent()?;
        let user = PathBuf::from(std::env::var_os("HOME")?);
        let or = |variable: &str, folder: &str| std::env::var_os(variable).unwrap_or_else(|| user.join(folder).into_os_string());
        let env = vec![
            ("CARGO_TARGET_DIR", target.join("template-build").into_os_string()),
            // One for all: where the compiler comes without the standard library, it is built and kept there.
            ("XDG_CACHE_HOME", target.join("guide/cache").into_os_string()),
            ("CARGO_HOME", or("CARGO_HOME", ".cargo")),
            ("RUSTUP_HOME", or("RUSTUP_HOME", ".rustup")),
            ("PYTHONPATH", target.join("ziglang").into_os_string()),
            ("ZIG_GLOBAL_CACHE_DIR", target.join("zig-cache").into_os_string()),
            ("CARGO_NET_OFFLINE", "true".into()),
        ];
        Some(Self { home: Home::new(), env })
    }

    fn adit(&self, args: &[&str]) -> crate::network::Adit {
        self.env.iter().fold(self.home.adit(args), |adit, (variable, value)| adit.env(variable, value))
    }

    /// Makes a guest of a template; its folder.
    fn new_guest(&self, language: &str) -> String {
        let folder = match language {
            // Always in the same place, so that what it depends on is built once.
            "rust" => guests().unwrap().parent().unwrap().join("template-test/hello"),
            _ => self.home.path("hello"),
        };
        // What an earlier run left, if one did.
        let _ = std::fs::remove_dir_all(&folder);
        let folder = folder.to_str().unwrap().to_owned();
        self.adit(&["new", "hello", "--lang", language, "--path", &folder]).run().ok();
        if language == "rust" {
            // A lock file of its own would be looked up in a registry; what the workspace has locked is here already.
            let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
            std::fs::copy(lock, Path::new(&folder).join("Cargo.lock")).unwrap();
        }
        folder
    }
}

/// How long a build may take: Debian's compiler builds Rust's standard library first, once on a machine.
const BUILD_PATIENCE: Duration = Duration::from_secs(800);

/// What each template does, with the line that it logs.
const TEXT: &str = "who goes there?\nzig, c { rust }\n\nlast line";
const SHOUTED: &str = "WHO GOES THERE?\nZIG, C { RUST }\n\nLAST LINE";
const LOGGED: &str = "[info] shouting 4 lines";

/// From nothing to a result.
fn from_an_empty_folder(language: &str) {
    let Some(author) = Author::new() else { return };
    let begun = Instant::now();
    let folder = author.new_guest(language);
    let module = author.adit(&["build", &folder, "--json"]).start().wait_within(BUILD_PATIENCE).ok().json();
    let may: Vec<&str> = module["may"].as_array().unwrap().iter().map(|words| words.as_str().unwrap()).collect();
    for ability in ["read its input", "write its output and its log", "log lines with levels", "report progress"] {
        assert!(may.contains(&ability), "{language}: {may:?}");
    }
    let path = module["path"].as_str().unwrap();
    assert_eq!(module["bytes"], author.home.path(path).metadata().unwrap().len(), "{language}");
    let inspected = author.adit(&["inspect", path, "--json"]).run().ok().json();
    assert_eq!(
        (&inspected["admitted"], &inspected["digest"]),
        (&Value::from(true), &module["digest"]),
        "{language}: {inspected}"
    );
    assert!(inspected["sections"].as_array().unwrap().iter().any(|section| section["name"] == "custom `names`"), "{inspected}");
    assert!(!inspected["sections"].to_string().contains("debug_"), "{inspected}");
    let ran = author.adit(&["run", path, "--local", "--input", "-"]).input(TEXT).run().ok().says(LOGGED);
    assert_eq!(ran.text(), SHOUTED, "{language}");
    let network = Network::with_slots(&[1]);
    let there = network.adit(["run", "--input", "-"]).args([path]).input(TEXT).run().ok().says(LOGGED);
    assert_eq!(there.text(), SHOUTED, "{language}");
    println!("{language}: {:.1} s from an empty folder to a result on a network", begun.elapsed().as_secs_f64());
    check_features(&author, Path::new(&folder), language);
}

/// Modules are made for speed, whatever their package says of it, and for engines elsewhere where that is asked.
fn check_features(author: &Author, folder: &Path, language: &str) {
    let (main, source) = match language {
        "rust" => ("src/main.rs", FAST_RUST),
        "c" => ("src/main.c", FAST_C),
        _ => ("src/main.zig", FAST_ZIG),
    };
    std::fs::write(folder.join(main), source).unwrap();
    if language == "rust" {
        // A package without a profile of its own, and without dependencies.
        let manifest = "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
        std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    }
    let fast = ["SIMD", "wide arithmetic"];
    let features = |flags: &[&str]| -> Vec<bool> {
        let args = [&["build", folder.to_str().unwrap(), "--json"], flags].concat();
        let module = author.adit(&args).start().wait_within(BUILD_PATIENCE).ok().json();
        let inspected = author.adit(&["inspect", module["path"].as_str().unwrap(), "--json"]).run().ok().json();
        let features = inspected["features"].as_array().unwrap();
        fast.iter().map(|name| features.iter().any(|feature| feature == name)).collect()
    };
    assert_eq!(features(&[]), [true, true], "{language}: {fast:?}");
    // Debian's compiler would build Rust's standard library once more for other flags.
    if language != "rust" {
        assert_eq!(features(&["--portable"]), [false, false], "{language}: {fast:?}");
    }
}

/// A sum of many numbers, and the upper half of a product of two long ones: what vectors and wide arithmetic are for.
const FAST_RUST: &str = "use std::io::Read;

fn main() {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).unwrap();
    let sum: u32 = text.iter().map(|byte| u32::from(*byte)).sum();
    let product = u128::from(text.len() as u64 | 1 << 60) * u128::from(sum as u64 | 1 << 61);
    println!(\"{sum} {}\", (product >> 64) as u64);
}
";
const FAST_C: &str = "#include <stdio.h>
int main(void) {
    static unsigned char text[65536];
    size_t size = fread(text, 1, sizeof text, stdin);
    unsigned sum = 0;
    for (size_t at = 0; at < size; at++) sum += text[at];
    unsigned __int128 product = (unsigned __int128)(size | 1ull << 60) * (sum | 1ull << 61);
    printf(\"%u %llu\\n\", sum, (unsigned long long)(product >> 64));
    return 0;
}
";
const FAST_ZIG: &str = "const std = @import(\"std\");

pub fn main(init: std.process.Init) !void {
    var reader = std.Io.File.stdin().readerStreaming(init.io, &.{});
    const text = try reader.interface.allocRemaining(init.gpa, .unlimited);
    var sum: u32 = 0;
    for (text) |byte| sum +%= byte;
    const product = @as(u128, @as(u64, text.len) | 1 << 60) * @as(u128, @as(u64, sum) | 1 << 61);
    std.debug.print(\"{d} {d}\\n\", .{ sum, @as(u64, @truncate(product >> 64)) });
}
";

/// The test of the template, and what README.md shows of a guest.
#[test]
fn the_template_in_rust_and_the_one_of_the_readme_pass_their_tests() {
    let Some(author) = Author::new() else { return };
    let folder = author.home.path("hello").to_str().unwrap().to_owned();
    author.adit(&["new", "hello", "--path", &folder]).run().ok();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::copy(root.join("Cargo.lock"), Path::new(&folder).join("Cargo.lock")).unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let block = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("README.md shows a guest");
    author.home.file("hello/src/bin/readme.rs", block);
    let mut cargo = std::process::Command::new("cargo");
    cargo.args(["test", "--offline", "--quiet"]).current_dir(&folder).envs(author.env.iter().map(|(name, value)| (*name, value)));
    let ran = cargo.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(said.matches("test result: ok. 1 passed").count(), 2, "{said}");
}

#[test]
fn rust_goes_from_an_empty_folder_to_a_result() {
    from_an_empty_folder("rust");
}

#[test]
fn c_goes_from_an_empty_folder_to_a_result() {
    from_an_empty_folder("c");
}

#[test]
fn zig_goes_from_an_empty_folder_to_a_result() {
    from_an_empty_folder("zig");
}

#[test]
fn templates_do_the_same_in_every_language_here_and_there() {
    let modules = ["template-rust.wasm", "template-c.wasm", "template-zig.wasm"].map(built);
    let [Some(rust), Some(c), Some(zig)] = modules else { return };
    let network = Network::with_slots(&[1]);
    for module in [rust, c, zig] {
        let run = |place: &[&str]| {
            let run = network.adit(["run", "--json", "--output", "output", "--input", "-"]).args([&module]).args(place);
            let object = run.input(TEXT).run().ok().says(LOGGED).json();
            assert_eq!(std::fs::read_to_string(network.home.path("output")).unwrap(), SHOUTED, "{}", module.display());
            std::fs::remove_file(network.home.path("output")).unwrap();
            object
        };
        let (here, there) = (run(&["--local"]), run(&[]));
        for key in ["usage", "output_digest", "price_microcredits"] {
            assert_eq!(here[key], there[key], "{}: {key}", module.display());
        }
    }
}

#[test]
fn what_is_missing_is_said_with_what_to_install() {
    let home = Home::new();
    home.file("c/main.c", "int main(void) { return 0; }");
    home.file("rust/Cargo.toml", "[package]\nname = \"x\"\nversion = \"0.1.0\"\n");
    home.file("empty/README.md", "nothing to build");
    let build = |dir: &str| home.adit(["build", dir]).env("PATH", "/nowhere").run();
    build("c").code(1).says("pip install ziglang==0.17.1");
    build("rust").code(1).says("https://rustup.rs");
    build("empty").code(2).says("adit new");
    home.adit(["new", "c", "--lang", "c"]).run().code(2).says("exists");
    std::fs::create_dir(home.path("nothing")).unwrap();
    home.adit(["new", "nothing", "--lang", "c"]).run().ok();
    home.adit(["new", "x", "--sdk", "c"]).run().code(2).says("not the crate adit-guest");
    home.adit(["new", "x", "--lang", "cobol"]).run().code(2);
}

/// The first zig on the path was taken, however old, and the template did not compile.
#[test]
fn an_old_zig_gives_way_to_a_recent_one_or_is_told() {
    let home = Home::new();
    home.file("c/main.c", "int main(void) { return 0; }");
    std::fs::create_dir(home.path("bin")).unwrap();
    let script = |name: &str, text: &str| {
        // By another process: this one could still have the file open for writing in a child of another test.
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod +x "$2""#;
        let status = std::process::Command::new("sh").args(["-c", write, "sh", text]).arg(home.path("bin").join(name)).status();
        assert!(status.unwrap().success());
    };
    let build = || home.adit(["build", "c"]).env("PATH", home.path("bin")).run().code(1);
    script("zig", r#"case "$1" in version) echo 0.13.0;; *) echo "old $1" >&2; exit 1;; esac"#);
    let old = build().says("old cc");
    assert!(old.stderr.contains("zig 0.13.0") && old.stderr.contains("ziglang==0.17.1"), "{old:?}");
    script("python3", r#"case "$3" in version) echo 0.17.1;; *) echo "recent $3" >&2; exit 1;; esac"#);
    let recent = build().says("recent cc");
    assert!(!recent.stderr.contains("old cc") && !recent.stderr.contains("ziglang=="), "{recent:?}");
}

#[test]
fn inspection_lists_all_that_is_wrong_and_admits_what_nodes_admit() {
    let home = Home::new();
    let good = home.file("good.wasm", guest::echo());
    let ran = home.adit(["inspect"]).args([&good]).run().ok();
    for words in
        ["admitted", "may: read its input", "imports wasi_snapshot_preview1.fd_read: read its input", "exports _start: function"]
    {
        assert!(ran.text().contains(words), "{words}: {ran:?}");
    }
    let exports: String = (0..300).map(|i| format!("(export \"e{i}\" (func 1))")).collect();
    let wrong = format!("(module (import \"env\" \"puts\" (func (param i32))) (func (local {})) {exports})", "i32 ".repeat(1001));
    let wrong = home.file("wrong.wasm", wat::parse_str(wrong).unwrap());
    let object = home.adit(["inspect", "--json"]).args([&wrong]).run().code(20).json();
    let faults = object["faults"].as_array().unwrap();
    let limits: Vec<(&str, u64, u64)> = faults
        .iter()
        .filter_map(|fault| Some((fault["limit"].as_str()?, fault["value"].as_u64()?, fault["max"].as_u64()?)))
        .collect();
    assert_eq!(limits, [("exports", 300, 256), ("locals of a function", 1001, 1000)]);
    for words in ["env::puts", "_start"] {
        assert!(faults.iter().any(|fault| fault["reason"].as_str().unwrap().contains(words)), "{words}: {object}");
    }
    // What inspection says first is what a run is refused for.
    home.adit(["run", "--local"]).args([&wrong]).run().code(20).says("exports: 300 is over the limit of 256");
    home.adit(["inspect", "/bin/sh"]).run().code(20);
    home.adit(["inspect", "nowhere.wasm"]).run().code(2);
}

/// JSON lets all of these through but for the first.
#[test]
fn object_of_a_module_full_of_escapes_has_none_for_a_terminal() {
    let home = Home::new();
    let name = "\u{1b}[2J\u{9b}2J\u{85}\u{7f}\u{202e}\u{2028}";
    let spelt = name.escape_unicode();
    let module = format!("(module (import \"{spelt}\" \"f\" (func)) (func (export \"{spelt}\")))");
    let module = home.file("job.wasm", wat::parse_str(module).unwrap());
    let ran = home.adit(["inspect", "--json"]).args([&module]).run().code(20);
    let text = ran.text().trim_end_matches('\n');
    // The runtime's own words have this in the place of what it does not repeat.
    assert!(text.chars().all(|c| c == '\u{fffd}' || (' '..='~').contains(&c)), "{text:?}");
    let object = ran.json();
    assert_eq!((&object["imports"][0]["module"], &object["exports"][0]["name"]), (&name.into(), &name.into()), "{text}");
    let refused = home.adit(["run", "--local", "--json"]).args([&module]).run().code(20);
    assert!(
        !refused.text().contains('\u{202e}') && refused.json()["reason"].as_str().unwrap().contains('\u{202e}'),
        "{refused:?}"
    );
}

/// A guest whose work is known: `twice` costs twice what `once` costs.
fn two_functions(ending: &str) -> Vec<u8> {
    let work = "(loop $turn (br_if $turn (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))";
    let text = format!(
        r#"(module (memory (export "memory") 1)
            (func $once (param i32) {work})
            (func $twice (param i32) {work})
            (func (export "_start") (call $once (i32.const 30000)) (call $twice (i32.const 60000)) {ending}))"#
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn profile_is_the_bill_taken_apart() {
    let home = Home::new();
    for (ending, exit) in [("", 0), ("unreachable", 10), ("(loop $forever (br $forever))", 11)] {
        let module = home.file("job.wasm", two_functions(ending));
        let run = |args: &[&str]| home.adit(args).args([&module]).args(["--json", "--fuel", "1M"]).run().code(exit).json();
        let bill = run(&["run", "--local"]);
        let profile = run(&["profile", "--folded", "fuel.txt", "--svg", "fuel.svg"]);
        for key in ["outcome", "output_digest"] {
            assert_eq!(profile[key], bill[key], "{ending}: {key}");
        }
        let fuel = bill["usage"]["fuel"].as_u64().unwrap();
        let functions = profile["functions"].as_array().unwrap();
        let own = |name: &str| {
            let function = functions.iter().find(|function| function["name"] == name);
            function.unwrap_or_else(|| panic!("{name}: {profile}"))["own_fuel"].as_u64().unwrap()
        };
        let sum: u64 = functions.iter().map(|function| function["own_fuel"].as_u64().unwrap()).sum();
        assert_eq!((sum, profile["fuel"].as_u64().unwrap()), (fuel, fuel), "{ending}");
        let ratio = own("twice") as f64 / own("once") as f64;
        assert!((1.99..2.01).contains(&ratio), "{ending}: {ratio}");
        let folded = std::fs::read_to_string(home.path("fuel.txt")).unwrap();
        let amounts = folded.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap());
        assert_eq!(amounts.sum::<u64>(), fuel, "{folded}");
        assert!(folded.contains(&format!("_start;twice {}\n", own("twice"))), "{folded}");
        assert!(std::fs::read_to_string(home.path("fuel.svg")).unwrap().contains("twice ("));
    }
    let table = home.adit(["profile", "job.wasm", "--fuel", "1M", "--rows", "2"]).run().code(11);
    assert!(table.text().contains("calls") && table.text().contains("others; --rows 0 shows them"), "{table:?}");
}

#[test]
fn profile_of_a_guest_in_rust_has_its_names_and_its_bill() {
    let Some(module) = built("wordcount.wasm") else { return };
    let home = Home::new();
    let input = home.file("text", TEXT.repeat(2_000));
    let run = |command: &[&str]| home.adit(command).args([&module]).args(["--json", "--input"]).args([&input]).run().ok().json();
    let (bill, profile) = (run(&["run", "--local", "--output", "out"]), run(&["profile", "--output", "profiled"]));
    let functions = profile["functions"].as_array().unwrap();
    let sum: u64 = functions.iter().map(|function| function["own_fuel"].as_u64().unwrap()).sum();
    assert_eq!(sum, bill["usage"]["fuel"].as_u64().unwrap());
    assert_eq!(std::fs::read(home.path("out")).unwrap(), std::fs::read(home.path("profiled")).unwrap());
    assert!(functions.iter().any(|function| function["name"] == "[host] fd_write" && function["host"] == true), "{profile}");
    assert!(functions.iter().any(|function| function["name"].as_str().unwrap().contains("::")), "{profile}");
}

/// A guest in C that spins for so many turns, and says so.
fn spinner(turns: u32) -> String {
    format!(
        "#include <stdio.h>\nint main(void) {{ volatile unsigned n = 0; while (n < {turns}) n++; printf(\"%u turns\\n\", n); return 0; }}\n"
    )
}

#[test]
fn dev_runs_once_and_tells_what_a_change_costs() {
    let Some(author) = Author::new() else { return };
    author.home.file("spin/main.c", spinner(1_000));
    let once = || author.adit(&["dev", "spin", "--once"]).run();
    let first = once().ok().says("the first run");
    assert_eq!(first.text(), "1000 turns");
    once().ok().says("(the same), peak");
    author.home.file("spin/main.c", spinner(2_000));
    let slower = once().ok();
    assert!(slower.stderr.contains(" -> ") && slower.stderr.contains(" (+") && slower.stderr.contains(" %)"), "{slower:?}");
    author.home.file("spin/main.c", "int main(void) { return 1 +; }");
    once().code(1).says("error");
    author.adit(&["dev", "spin", "--input", "-"]).run().code(2);
    author.adit(&["dev", "nowhere"]).run().code(2);
}

#[test]
fn dev_follows_changes_shows_errors_and_leaves_nothing_running() {
    let Some(author) = Author::new() else { return };
    author.home.file("spin/main.c", spinner(1_000));
    let dev = author.adit(&["dev", "spin"]).start();
    dev.stdout.wait_for_text("1000 turns");
    dev.stderr.wait_for_text("waiting for a change");
    author.home.file("spin/main.c", "int main(void) { return 1 +; }");
    dev.stderr.wait_for_text("not built");
    author.home.file("spin/main.c", spinner(3_000));
    dev.stdout.wait_for_text("3000 turns");
    dev.stderr.wait_for_text(" %)");
    // A guest that never ends does not keep its author from the next one, and is stopped with it.
    author.home.file("spin/main.c", "#include <stdio.h>\nint main(void) { puts(\"turning\"); fputs(\"endless\\n\", stderr); for (;;) { volatile int n = 0; (void)n; } }\n");
    dev.stderr.wait_for_text("endless");
    author.home.file("spin/main.c", spinner(4_000));
    dev.stderr.wait_for_text("of no use any more");
    dev.stdout.wait_for_text("4000 turns");
    author.home.file("spin/main.c", "#include <stdio.h>\nint main(void) { puts(\"spinning\"); fputs(\"ready\\n\", stderr); for (;;) { volatile int n = 0; (void)n; } }\n");
    dev.stderr.wait_for_text("ready");
    let children = dev.children();
    assert!(!children.is_empty());
    dev.signal(Signal::INT);
    dev.wait().ok();
    until("what it started is gone", || children.iter().all(|child| !Path::new(&format!("/proc/{child}")).exists()));
}

/// Each run started at another time, and all jobs over one input shared a record.
#[test]
fn dev_compares_a_job_with_itself_and_looks_at_what_it_is_given() {
    let Some(author) = Author::new() else { return };
    author.home.file("clock/main.c", CLOCK);
    author.home.file("weights", "one");
    let once = |args: &[&str]| author.adit(&[&["dev", "clock", "--once"][..], args].concat()).run().ok();
    let first = once(&["--seed", "1"]).says("the first run");
    assert_eq!(first.text(), "0 seconds");
    once(&["--seed", "2"]).says("the first run");
    once(&["--seed", "1"]).says("(the same), peak");

    let dev = author.adit(&["dev", "clock", "--with", "weights=weights"]).start();
    dev.stderr.wait_for_text("waiting for a change");
    author.home.file("weights", "another");
    dev.stderr.wait_for_text("the first run");
    dev.signal(Signal::INT);
    dev.wait().ok();
}

/// What its host says the time is.
const CLOCK: &str =
    "#include <stdio.h>\n#include <time.h>\nint main(void) { printf(\"%lld seconds\\n\", (long long)time(0)); return 0; }\n";

/// Commands that nobody here wrote, as they were published; see `xtask/src/strangers.rs`.
#[test]
fn commands_of_others_run_unchanged() {
    let modules = ["stranger-boolector.wasm", "stranger-usvg.wasm", "stranger-resvg.wasm"].map(built);
    let [Some(boolector), Some(usvg), Some(resvg)] = modules else { return };
    let home = Home::new();
    let run = |module: &Path, args: &[&str], input: &str| {
        let began = Instant::now();
        loop {
            let run = home.adit(["run", "--local", "--input", "-"]).args([module]).args(["--"]).args(args);
            let ran = run.input(input).run();
            // They are large, and a machine that has other things to do may not compile them in time; it says so, and is asked again.
            if began.elapsed() > PATIENCE || !ran.stderr.contains("compilation failed on this node") {
                return ran;
            }
        }
    };
    // x * x = 49 in 16 bits, and x below 128.
    let formula = "(set-logic QF_BV)(declare-const x (_ BitVec 16))
        (assert (= (bvmul x x) #x0031))(assert (bvult x #x0080))(check-sat)";
    // A solver says what it found by its exit code too.
    let solved = run(&boolector, &["--smt2", "-m"], formula).code(10).says("the guest ended with exit code 10");
    assert!(solved.text().starts_with("sat\n") && solved.text().contains("#b0000000000000111"), "{solved:?}");
    let drawing =
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="16" height="8"><rect width="16" height="8" fill="#ff8000"/></svg>"##;
    let simplified = run(&usvg, &["-", "-c"], drawing).ok();
    assert!(
        simplified.text().contains(r##"<path fill="#ff8000" stroke="none" d="M 0 0 L 16 0 L 16 8 L 0 8 Z"/>"##),
        "{simplified:?}"
    );
    // It warns on standard output that links to files cannot be followed; behind that line comes the picture.
    let picture = run(&resvg, &["-", "-c"], drawing).ok().stdout;
    let head = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x10\0\0\0\x08";
    assert!(picture.windows(head.len()).any(|bytes| bytes == head), "no picture of 16 by 8 in {} bytes", picture.len());
}
