struct Pixels(u64);

#[adit_guest::job]
fn render(tile: u64) -> Result<Pixels, String> {
    Ok(Pixels(tile))
}
