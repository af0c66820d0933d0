//! A job: text in, text out.

use adit_guest::Raw;

#[adit_guest::job]
fn shout(text: Raw) -> Result<Raw, std::str::Utf8Error> {
    let text = text.as_str()?;
    adit_guest::info!("shouting {} lines", text.lines().count());
    Ok(text.to_uppercase().into())
}

#[test]
fn text_is_shouted() {
    assert_eq!(shout("who goes there?".into()), Ok("WHO GOES THERE?".into()));
}
