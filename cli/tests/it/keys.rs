//! Key files: private, made once, never guessed around.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::guest;
use crate::network::{Home, Network};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn every_key_file_is_private() {
    let network = Network::with_slots(&[1]);
    network.run(&guest::echo()).run().ok();
    for file in ["gateway.key", "node-0.key", "config/adit/client.key"] {
        assert_eq!(mode(&network.home.path(file)), 0o600, "{file}");
    }
}

#[test]
fn key_is_made_once_and_shown_as_often_as_asked() {
    let home = Home::new();
    let made = home.adit(["key", "new", "--key", "my.key"]).run().ok();
    assert_eq!(mode(&home.path("my.key")), 0o600);
    assert!(hex::decode(made.text()).is_ok_and(|key| key.len() == 32), "{made:?}");
    let shown = home.adit(["key", "show", "--key", "my.key", "--json"]).run().ok().json();
    assert_eq!((&shown["key"], &shown["file"]), (&made.text().into(), &"my.key".into()));
    // Neither half of the secret is ever printed.
    let secret = std::fs::read_to_string(home.path("my.key")).unwrap();
    assert!(!secret.contains(made.text()));

    home.adit(["key", "new", "--key", "my.key"]).run().code(1).says("key file my.key");
    assert_eq!(std::fs::read_to_string(home.path("my.key")).unwrap(), secret);
    home.adit(["key", "show", "--key", "none.key"]).run().code(1).says("key file none.key");
}

#[test]
fn key_file_that_others_can_read_is_refused_with_the_remedy() {
    let network = Network::with_slots(&[1]);
    let key = network.home.path("open.key");
    network.adit(["key", "new", "--key", "open.key"]).run().ok();
    for (bits, refused) in [(0o644, true), (0o640, true), (0o604, true), (0o600, false), (0o400, false)] {
        std::fs::set_permissions(&key, Permissions::from_mode(bits)).unwrap();
        let ran = network.run(&guest::echo()).args(["--key", "open.key"]).run();
        if refused {
            ran.code(1).says(&format!("has mode {bits:04o}, so others may read it; run: chmod 600 open.key"));
        } else {
            ran.ok();
        }
    }
    std::fs::set_permissions(network.home.path("gateway.key"), Permissions::from_mode(0o644)).unwrap();
    crate::network::Gateway::command(&network.home, "127.0.0.1:0").run().code(1).says("chmod 600");
}

#[test]
fn file_that_holds_no_key_is_refused() {
    let network = Network::with_slots(&[1]);
    let key = network.home.file("text.key", "hello\n");
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    network.run(&guest::echo()).args(["--key", "text.key"]).run().code(1).says("key file text.key does not hold an Adit key");
    assert_eq!(std::fs::read(&key).unwrap(), b"hello\n");
}
