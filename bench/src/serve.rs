//! Jobs against HTTP requests: `wasmtime serve`, which runs a fresh instance for each request as we do for each job, with no meter, no
//! receipt and no second machine.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::net::TcpStream;

use crate::echo::{Echo, IN_FLIGHT};
use crate::figure::{Figure, Goal, Rounds, Title};
use crate::guest;
use crate::net::{Process, scratch_folder};
use crate::plan::Plan;

const SERVE: Title =
    Title { name: "wasmtime_serve", unit: "/s", reference: "wasmtime serve under wrk, 64 connections", goal: Goal::AtLeast(2.0) };
const SERVER_READY_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// Why this cannot be measured here; nothing where it can.
pub(crate) fn obstacle() -> Option<String> {
    let missing = ["wasmtime", "wrk"].into_iter().find(|program| find(program).is_none())?;
    let next = if missing == "wasmtime" { "cargo install wasmtime-cli --version ^48 --locked" } else { "apt-get install wrk" };
    Some(format!("`{missing}` is not on PATH; next: {next}"))
}

/// Our jobs per second against its requests per second, 64 at once.
pub(crate) async fn measure(plan: &Plan) -> Result<Vec<Figure>> {
    let folder = scratch_folder()?;
    let component = folder.path().join("http.wasm");
    std::fs::write(&component, guest::http()?)?;
    let echo = Echo::start().await?;
    let (_server, addr) = start_server(&component, folder.path()).await?;
    echo.per_second(IN_FLIGHT, plan.warm_up).await?;
    requests_per_second(addr, plan.warm_up).await?;
    let mut rounds = Rounds::default();
    for _ in 0..plan.rounds {
        rounds.push(echo.per_second(IN_FLIGHT, plan.round).await?, requests_per_second(addr, plan.round).await?);
    }
    Ok(vec![rounds.figure(SERVE)])
}

async fn start_server(component: &Path, folder: &Path) -> Result<(Process, SocketAddr)> {
    let addr = free_address()?;
    let mut command = Command::new("wasmtime");
    command.args(["serve", "--addr", &addr.to_string()]).arg(component);
    let mut server = Process::spawn("wasmtime", &mut command, folder)?;
    let deadline = Instant::now() + SERVER_READY_LIMIT;
    while TcpStream::connect(addr).await.is_err() {
        server.expect_running()?;
        ensure!(Instant::now() < deadline, "wasmtime serve does not listen after {} s", SERVER_READY_LIMIT.as_secs());
        tokio::time::sleep(POLL).await;
    }
    Ok((server, addr))
}

/// An address that nobody listens on, now at least: `wasmtime serve` does not say which port it got where it is asked for any.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// What wrk counts. It measures whole seconds, so a shorter time is one.
async fn requests_per_second(addr: SocketAddr, time: Duration) -> Result<f64> {
    let seconds = time.as_secs().max(1).to_string();
    let mut wrk = tokio::process::Command::new("wrk");
    wrk.args(["--threads", "1", "--connections", &IN_FLIGHT.to_string(), "--duration", &seconds, &format!("http://{addr}/")]);
    let output = wrk.kill_on_drop(true).output().await.context("wrk does not start")?;
    let report = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed ({}):\n{report}{}", output.status, String::from_utf8_lossy(&output.stderr));
    parse_wrk(&report)
}

/// Reads `Requests/sec:  1234.56`, unless some answers were errors.
fn parse_wrk(report: &str) -> Result<f64> {
    if let Some(errors) = report.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors")) {
        bail!("wasmtime serve did not answer every request: {}", errors.trim());
    }
    let rate = report.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")).context("wrk counted nothing")?;
    rate.trim().parse().with_context(|| format!("wrk counted `{rate}`"))
}

/// Where `program` is on PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_read_only_where_every_answer_was_good() {
        let report =
            "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\nRequests/sec:  12345.67\nTransfer/sec: 1MB\n";
        assert_eq!(parse_wrk(report).unwrap(), 12_345.67);
        for bad in [
            "",
            "Requests/sec: many",
            "  Non-2xx or 3xx responses: 7\nRequests/sec: 1.0",
            "  Socket errors: connect 64\nRequests/sec: 1.0",
        ] {
            assert!(parse_wrk(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program").is_none());
    }
}
