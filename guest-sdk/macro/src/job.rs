use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, ItemFn, ReturnType, Signature, Type};

/// The annotated function as it was, and beside it the `main` that calls it. What cannot be a job stays too, beside its error, so
/// that the author reads about one mistake and not about every use of a function that vanished.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    match main_for(attribute, item.clone()) {
        Ok(main) => quote! { #item #main },
        Err(error) => {
            let error = error.into_compile_error();
            // A function named `main` would be a second one.
            let item = if is_main(&item) { TokenStream::new() } else { item };
            quote! { #item #error fn main() {} }
        }
    }
}

fn is_main(item: &TokenStream) -> bool {
    syn::parse2::<ItemFn>(item.clone()).is_ok_and(|function| function.sig.ident == "main")
}

fn main_for(attribute: TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    if !attribute.is_empty() {
        return Err(Error::new(attribute.span(), "`#[job]` takes no arguments; a job's limits are chosen where it is submitted"));
    }
    let span = item.span();
    let function: ItemFn = syn::parse2(item).map_err(|_| Error::new(span, "`#[job]` belongs on a function"))?;
    Ok(Job::of(&function.sig)?.into_main())
}

/// A function that can be a job.
struct Job<'a> {
    name: &'a Ident,
    argument: Option<&'a Type>,
    /// What it writes to where it writes its output itself: the second argument.
    output: Option<&'a Type>,
    /// Where an author looks who returns what cannot be written.
    returned: Span,
}

impl<'a> Job<'a> {
    fn of(signature: &'a Signature) -> Result<Self, Error> {
        // A receiver first: of a method, the rest of the advice would mislead.
        if let Some(receiver) = signature.receiver() {
            return Err(Error::new(receiver.span(), "a job is a plain function: it has no `self`"));
        }
        refuse(&signature.asyncness, "a job is not `async`: a guest runs on one thread, start to end")?;
        refuse(&signature.unsafety, "a job is not `unsafe`: nobody is there to keep its conditions")?;
        if !signature.generics.params.is_empty() {
            return Err(Error::new(signature.generics.span(), "a job is not generic: name the types that it reads and writes"));
        }
        if signature.ident == "main" {
            return Err(Error::new(signature.ident.span(), "`#[job]` writes `main` itself: give the job another name"));
        }
        let mut arguments = signature.inputs.iter();
        let job = Self {
            name: &signature.ident,
            argument: arguments.next().map(owned).transpose()?,
            output: arguments.next().map(owned).transpose()?,
            returned: match &signature.output {
                ReturnType::Default => signature.ident.span(),
                ReturnType::Type(_, named) => named.span(),
            },
        };
        match arguments.next() {
            Some(third) => Err(Error::new(third.span(), "a job has an input and an output: put several inputs in one struct")),
            None => Ok(job),
        }
    }

    /// Each call has the span of what it asks a trait of, so that a type that does not have it is marked where the author wrote it.
    fn into_main(self) -> TokenStream {
        let Self { name, argument, output, returned } = self;
        let result = |call| quote_spanned! { returned => ::adit_guest::__private::Returned(#call).into_result() };
        // Named where the author's names do not reach: the job's function itself may be called `input`.
        let [read, written] = ["input", "output"].map(|name| Ident::new(name, Span::mixed_site()));
        let code = match (argument, output) {
            (Some(argument), Some(output)) => {
                let result = result(quote! { #name(#read, #written) });
                let ended = quote_spanned! { returned => ::adit_guest::__private::ended(#result) };
                let run = quote_spanned! { output.span() => ::adit_guest::__private::run_streaming::<#argument, #output> };
                quote! { #run(|#read, #written| #ended) }
            }
            (Some(argument), None) => {
                let result = result(quote! { #name(#read) });
                let encoded = quote_spanned! { returned => ::adit_guest::__private::encoded(#result) };
                let run = quote_spanned! { argument.span() => ::adit_guest::__private::run::<#argument> };
                quote! { #run(|#read| #encoded) }
            }
            (None, _) => {
                let result = result(quote! { #name() });
                let encoded = quote_spanned! { returned => ::adit_guest::__private::encoded(#result) };
                quote! { ::adit_guest::__private::run_without_input(|| #encoded) }
            }
        };
        quote! {
            ::adit_guest::__main! {{
                #[allow(unused_imports, reason = "only a job that cannot fail needs the trait")]
                use ::adit_guest::__private::Infallible as _;
                #code
            }}
        }
    }
}

/// The type of an argument that a job can own.
fn owned(argument: &FnArg) -> Result<&Type, Error> {
    let FnArg::Typed(argument) = argument else { return Err(Error::new(argument.span(), "a job has no `self`")) };
    match &*argument.ty {
        Type::Reference(reference) => Err(Error::new(reference.span(), "a job owns its arguments: take them by value")),
        Type::ImplTrait(generic) => Err(Error::new(generic.span(), "a job is not generic: name the type")),
        named => Ok(named),
    }
}

fn refuse<T: Spanned>(qualifier: &Option<T>, message: &str) -> Result<(), Error> {
    qualifier.as_ref().map_or(Ok(()), |qualifier| Err(Error::new(qualifier.span(), message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(attribute: TokenStream, item: TokenStream) -> String {
        main_for(attribute, item).expect_err("this is no job").to_string()
    }

    fn check(item: TokenStream, expected: &str) {
        let message = refusal(TokenStream::new(), item.clone());
        assert!(message.contains(expected), "{item}: {message}");
    }

    #[test]
    fn what_cannot_be_a_job_is_refused_with_the_reason() {
        check(quote! { struct Render; }, "belongs on a function");
        check(quote! { fn render(&self) {} }, "no `self`");
        check(quote! { fn render(self: Box<Self>, tile: Tile) {} }, "no `self`");
        check(quote! { async fn render(tile: Tile) {} }, "not `async`");
        check(quote! { unsafe fn render(tile: Tile) {} }, "not `unsafe`");
        check(quote! { fn render<T>(tile: T) {} }, "not generic");
        check(quote! { fn render<'a>(tile: Tile<'a>) {} }, "not generic");
        check(quote! { fn render(tile: impl Tile) {} }, "not generic");
        check(quote! { fn render(tile: Tile, output: Output, samples: u32) {} }, "in one struct");
        check(quote! { fn render(tile: &Tile) {} }, "by value");
        check(quote! { fn render(tile: Tile, output: &mut Output) {} }, "by value");
        check(quote! { fn main(tile: Tile) {} }, "another name");
    }

    #[test]
    fn arguments_of_the_attribute_are_refused() {
        assert!(refusal(quote! { fuel = 10 }, quote! { fn render() {} }).contains("no arguments"));
    }

    #[test]
    fn the_function_is_left_as_it_was() {
        let function = quote! { #[inline] pub(crate) const fn double(n: u64) -> u64 { n * 2 } };
        assert!(expand(TokenStream::new(), function.clone()).to_string().starts_with(&function.to_string()));
    }

    #[test]
    fn what_is_refused_is_kept_beside_its_error() {
        let function = quote! { async fn render() {} };
        let expanded = expand(TokenStream::new(), function.clone()).to_string();
        assert!(expanded.starts_with(&function.to_string()), "{expanded}");
        assert!(expanded.contains("compile_error"), "{expanded}");
    }
}
