use std::fmt;
use std::str::FromStr;

use adit_protocol::PublicKey;

/// Where a gateway is and who it must be: `HOST:PORT#KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayAddr {
    /// Host name or IP address, and port, as the resolver takes it.
    pub host: String,
    /// The key that it must prove.
    pub key: PublicKey,
}

/// A text that names no gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a gateway address; write HOST:PORT#KEY, with the key as 64 hexadecimal digits")]
pub struct ParseAddrError(String);

impl FromStr for GatewayAddr {
    type Err = ParseAddrError;

    fn from_str(text: &str) -> Result<Self, ParseAddrError> {
        let error = || ParseAddrError(text.to_owned());
        let (host, key) = text.split_once('#').ok_or_else(error)?;
        let (name, port) = host.rsplit_once(':').ok_or_else(error)?;
        if name.is_empty() || port.parse::<u16>().is_err() {
            return Err(error());
        }
        Ok(Self { host: host.to_owned(), key: key.parse().map_err(|_| error())? })
    }
}

impl fmt::Display for GatewayAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.host, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        let key = PublicKey([7; 32]);
        for host in ["127.0.0.1:4433", "[::1]:4433", "gateway.example:1"] {
            let text = format!("{host}#{key}");
            let addr: GatewayAddr = text.parse().unwrap();
            assert_eq!((addr.host.as_str(), addr.key), (host, key));
            assert_eq!(addr.to_string(), text);
        }
        for text in ["", "127.0.0.1:4433", "127.0.0.1:4433#", "127.0.0.1:4433#12", ":1#", "host#", "host:x#"] {
            assert!(text.parse::<GatewayAddr>().is_err(), "{text}");
        }
    }
}
