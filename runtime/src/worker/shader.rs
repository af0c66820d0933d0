//! The process that checks one shader, and is gone: a parser can be made to take all the time and memory that there is.

use crate::gpu::shader::check;
use crate::gpu::wire::ShaderOrder;
use crate::ipc::{Receiver, Sender};
use crate::walls::Walls;

/// Serves one order.
pub(super) async fn serve(walls: Walls, sender: Sender, mut receiver: Receiver) -> wasmtime::Result<()> {
    walls.seal()?;
    let Some(order) = receiver.recv::<ShaderOrder>().await? else { return Ok(()) };
    sender.push(&check(&order))?;
    Ok(sender.drain().await?)
}
