//! The way to a gateway: its address, our key, the connection.

use std::path::Path;
use std::time::{Duration, Instant};

use adit_client::{Client, Config as ClientConfig, JobError, JobHandle, Update};
use adit_protocol::{Answer, JobId, Query, Refusal, SecretKey};
use adit_transport::{GatewayAddr, load_key_file, load_or_create_key_file};
use anyhow::{Context, bail};

use crate::args::LinkArgs;
use crate::config::{Config, Found, GATEWAY, KEY, Origin};
use crate::exit::{RefusedError, usage};
use crate::screen::{Screen, show_note};
use crate::up;

/// The gateway that flag, environment and file name, or else the `adit up` that runs on this machine.
pub(crate) fn find_gateway(config: &Config, flag: Option<&GatewayAddr>) -> anyhow::Result<Option<Found<GatewayAddr>>> {
    let found = config.find(&GATEWAY, flag.cloned(), str::parse::<GatewayAddr>)?;
    Ok(found.or_else(|| up::running(&config.dirs).map(|value| Found { value, origin: Origin::Up })))
}

/// As [`find_gateway`], where there must be one.
pub(crate) fn gateway(config: &Config, flag: Option<&GatewayAddr>) -> anyhow::Result<GatewayAddr> {
    let found = find_gateway(config, flag)?;
    Ok(found.ok_or_else(|| usage("no gateway: run `adit up` on this machine, or give --gateway ADDR#KEY or ADIT_GATEWAY"))?.value)
}

/// The key in `path`, made on first use, which is said.
pub(crate) fn load_key(role: &str, path: &Path) -> anyhow::Result<SecretKey> {
    let new = !path.exists();
    let key = load_or_create_key_file(path)?;
    if new {
        show_note(format!("made a {role} key in {}: {}", path.display(), key.public()));
    }
    Ok(key)
}

/// The key in `path`, which must be there: whoever names what a key has, or whose something is, means one that exists.
pub(crate) fn existing_key(role: &str, path: &Path) -> anyhow::Result<SecretKey> {
    if !path.exists() {
        return Err(usage(format!("the {role} key {} is not there; --key names another file", path.display())));
    }
    Ok(load_key_file(path)?)
}

/// The user's key.
pub(crate) fn load_user_key(config: &Config, flag: Option<&Path>) -> anyhow::Result<SecretKey> {
    load_key("client", &config.path_or(&KEY, flag, config.dirs.config.join("client.key")).value)
}

/// Connects as the user.
pub(crate) async fn connect(config: &Config, args: &LinkArgs) -> anyhow::Result<Client> {
    connect_for(config, args, ClientConfig::default().patience).await
}

/// As [`connect`], with the time for which a gateway that has no room is asked again.
pub(crate) async fn connect_for(config: &Config, args: &LinkArgs, patience: Duration) -> anyhow::Result<Client> {
    let gateway = gateway(config, args.gateway.as_ref())?;
    let key = load_user_key(config, args.key.as_deref())?;
    tracing::debug!(%gateway, client = %key.public(), "connecting");
    let software = concat!("adit ", env!("CARGO_PKG_VERSION")).into();
    let behaviour = ClientConfig { software, patience, ..ClientConfig::default() };
    Ok(Client::connect_with(key, gateway, behaviour).await?)
}

/// What to say of the connection, and of a gateway without room the first time, where an update is about that.
pub(crate) fn describe(update: &Update) -> Option<String> {
    match update {
        Update::Reconnecting { reason } => Some(format!("gateway lost ({reason}); connecting again")),
        Update::Reconnected => Some("gateway found again".to_owned()),
        Update::Postponed { refusal, times: 1, .. } => Some(describe_refusal(refusal)),
        _ => None,
    }
}

/// What to say of a gateway without room that is asked again.
pub(crate) fn describe_refusal(refusal: &Refusal) -> String {
    format!("not taken yet: {refusal} (done by itself)")
}

/// Says what an update tells of the connection.
pub(crate) fn note(update: &Update, screen: &mut Screen) {
    if let Some(text) = describe(update) {
        screen.note(text);
    }
}

/// What became of a job whose handle has no more to say. The library tells why before; this is for the case that it does not.
pub(crate) fn closed(handle: &JobHandle) -> JobError {
    JobError::GatewayLost { job: handle.id(), reason: "the connection was closed".into() }
}

/// Asks the gateway something it must be able to answer.
pub(crate) async fn ask(client: &Client, query: Query) -> anyhow::Result<Answer> {
    match client.ask(query).await.context("the gateway was asked")? {
        Answer::Unavailable(reason) => bail!(RefusedError(format!("the gateway cannot say now: {reason}"))),
        answer => Ok(answer),
    }
}

/// How long a job's proof is waited for, where its gateway has signed no checkpoint over it yet.
const PROOF_PATIENCE: Duration = Duration::from_millis(500);

/// As [`PROOF_PATIENCE`], where witnesses cosign the checkpoints: those come once a second, and each when enough witnesses have answered.
const WITNESSED_PROOF_PATIENCE: Duration = Duration::from_millis(2_500);

/// How often it is asked for.
const PROOF_EVERY: Duration = Duration::from_millis(25);

/// The proof that a settled job is in the gateway's log. Nothing where it is not to be had soon: it can be asked for at any later time.
pub(crate) async fn log_proof(client: &Client, job: JobId) -> Option<String> {
    let query = Query::Proof(job);
    let soon = log_proof_within(client, query.clone(), PROOF_PATIENCE).await;
    if soon.is_some() || !is_witnessed(client).await {
        return soon;
    }
    log_proof_within(client, query, WITNESSED_PROOF_PATIENCE - PROOF_PATIENCE).await
}

/// Whether others than the gateway signed its last checkpoint. One that does not say so soon counts as alone.
async fn is_witnessed(client: &Client) -> bool {
    match tokio::time::timeout(PROOF_PATIENCE, client.ask(Query::Log)).await {
        Ok(Ok(Answer::Log(log))) => log.checkpoint.is_some_and(|note| has_cosignatures(&note)),
        _ => false,
    }
}

/// Whether a signed note (<https://c2sp.org/signed-note>) has more than one signature.
fn has_cosignatures(note: &str) -> bool {
    note.split_once("\n\n").is_some_and(|(_, signatures)| signatures.lines().filter(|line| line.starts_with("— ")).count() > 1)
}

/// As [`log_proof`], by either question for a proof, waited for as long as one likes; asked for once in any case.
pub(crate) async fn log_proof_within(client: &Client, query: Query, patience: Duration) -> Option<String> {
    let until = Instant::now() + patience;
    let asking = async {
        loop {
            match client.ask(query.clone()).await {
                Ok(Answer::Proof(proof)) => return proof,
                Ok(Answer::Unavailable(_)) if Instant::now() < until => tokio::time::sleep(PROOF_EVERY).await,
                Ok(_) | Err(_) => return None,
            }
        }
    };
    // A gateway that says nothing at all is waited for no longer than one that has no proof yet.
    tokio::time::timeout(patience.max(PROOF_PATIENCE), asking).await.ok().flatten()
}

/// What an answer to another question is.
pub(crate) fn unexpected(answer: &Answer) -> anyhow::Error {
    RefusedError(format!("the gateway answered another question: {answer:?}")).into()
}

#[cfg(test)]
mod tests {
    use adit_ledger::TreeHead;
    use adit_tlog::{Cosigner, UnixSeconds, sign_checkpoint, with_cosignatures};

    use super::*;

    #[test]
    fn checkpoint_that_a_witness_signed_too_shows_it() {
        let (gateway, head) = (SecretKey::from_seed([9; 32]), TreeHead { size: 1, root: [0; 32] });
        let note = sign_checkpoint(&gateway, &head);
        let witness = Cosigner::new("witness.example", SecretKey::from_seed([5; 32])).unwrap();
        let line = witness.cosign(&note, UnixSeconds(1)).unwrap().line;
        let cosigned = with_cosignatures(&note, [line.as_str()]);
        assert!(!has_cosignatures(std::str::from_utf8(&note).unwrap()));
        assert!(has_cosignatures(std::str::from_utf8(&cosigned).unwrap()));
        assert!(!has_cosignatures("") && !has_cosignatures("— a b\n— c d\n"));
    }
}
