const UNAVAILABLE: i32 = adit_abi::GPU_UNAVAILABLE as i32;
const INVALID: i32 = adit_abi::GPU_INVALID as i32;
const LIMIT: i32 = adit_abi::GPU_LIMIT as i32;
const SHADER: i32 = adit_abi::GPU_SHADER as i32;

/// Why a call was not carried out. The text is the host's own message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The job has no GPU.
    #[error("no GPU: {0}")]
    Unavailable(String),
    /// An argument is not what the call takes: ranges that are not inside a buffer, bindings that do not fit a pipeline.
    #[error("{0}")]
    Invalid(String),
    /// A limit of the job would be exceeded. Nothing was done.
    #[error("{0}")]
    Limit(String),
    /// The shader is refused: syntax, validation, or more than a guest may use. The message is the compiler's, with the line where one is
    /// to blame.
    #[error("the shader is refused: {0}")]
    Shader(String),
    /// A code that this version of the SDK does not know, of a newer host.
    #[error("{message} (code {code})")]
    Other {
        /// The host's code.
        code: i32,
        /// The host's message.
        message: String,
    },
}

impl Error {
    /// The error's number in the host interface.
    pub fn code(&self) -> i32 {
        match self {
            Self::Unavailable(_) => UNAVAILABLE,
            Self::Invalid(_) => INVALID,
            Self::Limit(_) => LIMIT,
            Self::Shader(_) => SHADER,
            Self::Other { code, .. } => *code,
        }
    }

    /// The error that a host's code stands for.
    #[cfg(any(target_arch = "wasm32", test))]
    pub(crate) fn from_code(code: i32, message: String) -> Self {
        match code {
            UNAVAILABLE => Self::Unavailable(message),
            INVALID => Self::Invalid(message),
            LIMIT => Self::Limit(message),
            SHADER => Self::Shader(message),
            _ => Self::Other { code, message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_kept_both_ways() {
        for code in -9..0 {
            assert_eq!(Error::from_code(code, "why".into()).code(), code);
        }
        assert_eq!(Error::from_code(-9, "why".into()).to_string(), "why (code -9)");
    }
}
