use adit_runtime::lab::{Options, instrument, Lab, config, Strategy, OptLevel};
fn main() {
    let wasm = std::fs::read(std::env::args().nth(1).unwrap()).unwrap();
    for (n, r, c) in [("all", true, true), ("no repeat", false, true), ("no nan", true, false), ("neither", false, false)] {
        let options = Options { repeat_loops: r, canonical_nan: c, ..Options::default() };
        let t = std::time::Instant::now();
        let m = instrument(&wasm, &options).unwrap();
        let t1 = t.elapsed();
        let mut cfg = config(Strategy::Cranelift, OptLevel::Speed);
        let e = wasmtime::Engine::new(&cfg).unwrap();
        let t = std::time::Instant::now();
        let code = e.precompile_module(&m.wasm).unwrap();
        println!("{n}: {} -> {} wasm, {} code, pass {t1:?}, compile {:?}, pending {}", wasm.len(), m.wasm.len(), code.len(), t.elapsed(), m.pending.len());
    }
    let e = wasmtime::Engine::new(&config(Strategy::Cranelift, OptLevel::Speed)).unwrap();
    let t = std::time::Instant::now();
    let code = e.precompile_module(&wasm).unwrap();
    println!("bare: {} code {:?}", code.len(), t.elapsed());
}
