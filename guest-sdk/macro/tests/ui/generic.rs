#[adit_guest::job]
fn render<T: Clone>(tile: T) -> T {
    tile.clone()
}
