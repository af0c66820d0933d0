//! The attribute behind `adit_guest::job`; guests name it through `adit-guest`, whose documentation describes it.
#![forbid(unsafe_code)]

mod job;

use proc_macro::TokenStream;

/// Makes a function a job: see `adit_guest::job`.
#[proc_macro_attribute]
pub fn job(attribute: TokenStream, item: TokenStream) -> TokenStream {
    job::expand(attribute.into(), item.into()).into()
}
