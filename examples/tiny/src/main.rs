//! A guest without a standard library: it counts the bytes of its input and of its named inputs, by value.
#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;

use adit_guest::Raw;

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    adit_guest::error!("{info}");
    core::arch::wasm32::unreachable()
}

/// How often each byte value occurs.
#[adit_guest::job]
fn histogram(input: Raw) -> Vec<u32> {
    let mut counts = vec![0; 256];
    let named = adit_guest::inputs().flat_map(|input| input.to_vec());
    for byte in input.iter().copied().chain(named) {
        counts[usize::from(byte)] += 1;
    }
    adit_guest::info!("{} bytes", counts.iter().sum::<u32>());
    adit_guest::progress(1, 1);
    counts
}

#[cfg(test)]
mod tests {
    use adit_guest::testing::Harness;

    #[test]
    fn bytes_of_all_inputs_are_counted() {
        let told = Harness::new().input("aab").named("more", "bc").run(super::main);
        let counts: Vec<u32> = told.value().unwrap();
        assert_eq!((counts.len(), &counts[97..100]), (256, &[2, 2, 1][..]));
        assert_eq!((told.log_text(), told.progress), ("[info] 5 bytes\n".to_owned(), vec![(1, 1)]));
    }
}
