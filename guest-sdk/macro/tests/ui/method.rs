struct Scene;

impl Scene {
    #[adit_guest::job]
    fn render(&self, tile: u64) -> u64 {
        tile
    }
}

fn main() {}
