#[adit_guest::job]
struct Render;
