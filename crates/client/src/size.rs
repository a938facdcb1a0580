//! Size of a message as the bus counts it, so that one that is too large is refused before it is sent: the server would
//! answer with an error that names neither number, or cut the connection.

use async_nats::HeaderMap;
use bcs_schemas::stream::MAX_MESSAGE_SIZE;

use crate::Error;

/// Refuses what the server or the stream would refuse.
pub(crate) fn check(headers: &HeaderMap, payload: &[u8], server_limit: usize) -> Result<(), Error> {
    let stream_limit = usize::try_from(MAX_MESSAGE_SIZE).unwrap_or(usize::MAX);
    let limit = if server_limit == 0 { stream_limit } else { stream_limit.min(server_limit) };
    let size = payload.len() + of_headers(headers);
    if size > limit { Err(Error::TooLarge { size, limit }) } else { Ok(()) }
}

/// `NATS/1.0\r\n`, one `name: value\r\n` each, and an empty line.
fn of_headers(headers: &HeaderMap) -> usize {
    let line = |(name, values): (&async_nats::HeaderName, &Vec<async_nats::HeaderValue>)| {
        let name = AsRef::<str>::as_ref(name).len();
        values.iter().map(|value| name + value.as_str().len() + 4).sum::<usize>()
    };
    headers.iter().map(line).sum::<usize>() + 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_limit_counts_and_both_numbers_are_named() {
        let mut headers = HeaderMap::new();
        headers.insert("a", "bc");
        assert_eq!(of_headers(&headers), "NATS/1.0\r\na: bc\r\n\r\n".len());
        assert!(check(&headers, &[0; 1_000], 1 << 20).is_ok());
        for (length, server, limit) in [(2 << 20, 8 << 20, 262_144), (2_000, 1_000, 1_000)] {
            let error = check(&headers, &vec![0; length], server).expect_err("too large");
            assert!(matches!(error, Error::TooLarge { size, limit: l } if size > length && l == limit));
        }
    }
}
