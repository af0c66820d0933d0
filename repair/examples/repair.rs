//! Mends modules in their places: `cargo run -p adit-repair --example repair -- MODULE...`

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let mut bytes = std::fs::read(&path)?;
        let moved = adit_repair::repair(&mut bytes)?;
        if moved > 0 {
            std::fs::write(&path, bytes)?;
        }
        println!("{path}: {moved} reads moved");
    }
    Ok(())
}
