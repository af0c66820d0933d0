//! The units of docs/operating.md, as systemd reads them.

use std::process::Command;

use crate::network::Home;

const OPERATING: &str = include_str!("../../../docs/operating.md");

/// The unit that the page shows below its path.
fn unit(name: &str) -> &'static str {
    let (_, rest) = OPERATING.split_once(&format!("`/etc/systemd/system/{name}`")).expect("the page names its path");
    let (_, rest) = rest.split_once("```ini\n").expect("the unit is shown below");
    rest.split_once("```").expect("the unit ends").0
}

/// What systemd says of a unit: nothing where all is well. A directive that it does not know it only warns of.
fn verify(home: &Home, name: &str, unit: &str) -> Option<String> {
    // It looks whether the program is there.
    let unit = unit.replace("/usr/local/bin/adit", env!("CARGO_BIN_EXE_adit"));
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(home.file(name, unit)).output().ok()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    // Of the machine's own units it may say much.
    let told: String = told.lines().filter(|line| line.contains(name)).flat_map(|line| [line, "\n"]).collect();
    Some(if told.is_empty() && !output.status.success() { output.status.to_string() } else { told })
}

#[test]
fn systemd_has_nothing_to_say_to_the_units_of_the_page_on_operating() {
    let home = Home::new();
    for name in ["adit-node.service", "adit-gateway.service", "adit-witness.service"] {
        let Some(told) = verify(&home, name, unit(name)) else {
            eprintln!("SKIPPED: {name} is not verified, because this machine has no systemd-analyze");
            return;
        };
        assert_eq!(told, "", "{name}");
        let broken = unit(name).replace("NoNewPrivileges=", "NoNewPrivilege=");
        assert!(verify(&home, name, &broken).unwrap().contains("NoNewPrivilege"), "it tells of a directive that there is not");
    }
}
