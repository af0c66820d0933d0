use std::env;

/// The job's arguments: `adit run MODULE -- ARGS`, without the program's name.
///
/// On a native target they are the harness's, or else the process's own.
///
/// ```
/// # use adit_guest::testing::Harness;
/// let top = || adit_guest::args().first().and_then(|top| top.parse().ok()).unwrap_or(10);
/// assert_eq!(Harness::new().args(["3"]).call(top).0, 3);
/// assert_eq!(Harness::new().args([""; 0]).call(top).0, 10);
/// ```
pub fn args() -> Vec<String> {
    #[cfg(not(target_arch = "wasm32"))]
    if let Some(args) = crate::testing::world::with(|world| world.args.clone()) {
        return args;
    }
    env::args().skip(1).collect()
}
