use std::time::Duration;

/// What a job may use of its GPU, as it asked when it was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all buffers together.
    pub memory: u64,
    /// Bytes of the largest buffer.
    pub buffer: u64,
    /// Dispatches over the whole job.
    pub dispatches: u64,
    /// Workgroups of one dispatch, over all three dimensions.
    pub workgroups: u64,
    /// GPU time over the whole job.
    pub time: Duration,
    /// Buffers at one time.
    pub buffers: u32,
    /// Pipelines at one time.
    pub pipelines: u32,
    /// Invocations of one workgroup.
    pub invocations: u32,
    /// Bytes that the invocations of one workgroup share.
    pub workgroup_memory: u32,
}

impl Default for Limits {
    /// Those of a job that asks for a GPU and says no more. A native build does not limit the time.
    fn default() -> Self {
        Self {
            memory: 256 << 20,
            buffer: 128 << 20,
            dispatches: 1 << 20,
            workgroups: 1 << 24,
            time: Duration::from_secs(60),
            buffers: 64,
            pipelines: 64,
            invocations: 256,
            workgroup_memory: 16 * 1024,
        }
    }
}

impl Limits {
    /// The limits as the host interface writes them.
    #[cfg(any(target_arch = "wasm32", test))]
    pub(crate) fn from_bytes(bytes: &[u8; adit_abi::GPU_LIMITS.bytes]) -> Self {
        let (numbers, _) = bytes.as_chunks::<8>();
        let wide = |at: usize| u64::from_le_bytes(numbers[at]);
        let low = |at: usize| wide(at) as u32;
        let high = |at: usize| (wide(at) >> 32) as u32;
        Self {
            memory: wide(0),
            buffer: wide(1),
            dispatches: wide(2),
            workgroups: wide(3),
            time: Duration::from_nanos(wide(4)),
            buffers: low(5),
            pipelines: high(5),
            invocations: low(6),
            workgroup_memory: high(6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_where_the_interface_has_them() {
        let mut bytes = [0; adit_abi::GPU_LIMITS.bytes];
        for (at, number) in [1u64 << 40, 2, 3, 4, 5].into_iter().enumerate() {
            bytes[at * 8..][..8].copy_from_slice(&number.to_le_bytes());
        }
        for (at, number) in [6u32, 7, 8, u32::MAX].into_iter().enumerate() {
            bytes[40 + at * 4..][..4].copy_from_slice(&number.to_le_bytes());
        }
        let expected = Limits {
            memory: 1 << 40,
            buffer: 2,
            dispatches: 3,
            workgroups: 4,
            time: Duration::from_nanos(5),
            buffers: 6,
            pipelines: 7,
            invocations: 8,
            workgroup_memory: u32::MAX,
        };
        assert_eq!(Limits::from_bytes(&bytes), expected);
    }
}
