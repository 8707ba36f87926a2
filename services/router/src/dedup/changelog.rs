//! Entries as they are written to the topic `dedup`: the key is the event's id (16 bytes), the value is the offset of the
//! first sight and its acceptance in Unix milliseconds, both as 8 bytes, big endian.

use uuid::Uuid;

pub(crate) const VALUE_LEN: usize = 16;

pub(crate) fn encode(offset: i64, accepted_ms: i64) -> [u8; VALUE_LEN] {
    let mut value = [0; VALUE_LEN];
    value[..8].copy_from_slice(&offset.to_be_bytes());
    value[8..].copy_from_slice(&accepted_ms.to_be_bytes());
    value
}

/// The id, the offset and the acceptance of an entry; `None` when it is none of ours.
pub(crate) fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<(Uuid, i64, i64)> {
    let event_id = Uuid::from_slice(key?).ok()?;
    let value: [u8; VALUE_LEN] = value?.try_into().ok()?;
    let (offset, accepted_ms) = value.split_first_chunk::<8>()?;
    let offset = i64::from_be_bytes(*offset);
    let accepted_ms = i64::from_be_bytes(accepted_ms.try_into().ok()?);
    (offset >= 0).then_some((event_id, offset, accepted_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_garbage_does_not() {
        let id = Uuid::from_u128(7);
        let value = encode(42, 1_800_000_000_000);
        let key = id.as_bytes().as_slice();
        assert_eq!(
            decode(Some(key), Some(&value)),
            Some((id, 42, 1_800_000_000_000))
        );
        assert_eq!(decode(Some(key), None), None, "a tombstone");
        assert_eq!(decode(Some(key), Some(&value[1..])), None);
        assert_eq!(decode(Some(b"x"), Some(&value)), None);
        assert_eq!(decode(None, Some(&value)), None);
        assert_eq!(decode(Some(key), Some(&encode(-1, 0))), None);
    }
}
