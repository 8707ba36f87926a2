//! Finding a key that one object has twice.

use super::Text;

/// Up to this many keys are compared pair by pair, which is cheaper than sorting them.
const PAIRWISE_MAX: usize = 8;

/// A key that stands twice in `keys`, decoded; the order of `keys` is not kept.
///
/// Sorted when there are many, so that a payload made of nothing but keys costs n log n and not n².
pub(super) fn repeated(keys: &mut [Text<'_>]) -> Option<String> {
    let twin = if keys.len() <= PAIRWISE_MAX {
        let twins = |i: usize| keys[..i].iter().any(|earlier| earlier.same(&keys[i]));
        (1..keys.len()).find(|&i| twins(i)).map(|i| keys[i])
    } else if keys.iter().all(|key| !key.is_escaped()) {
        keys.sort_unstable_by_key(|key| key.inner());
        keys.windows(2)
            .find(|pair| pair[0].same(&pair[1]))
            .map(|pair| pair[0])
    } else {
        keys.sort_by_cached_key(|key| key.decode().map(String::from));
        keys.windows(2)
            .find(|pair| pair[0].same(&pair[1]))
            .map(|pair| pair[0])
    };
    twin.map(|key| shown(&key))
}

/// A key as an error shows it.
fn shown(key: &Text<'_>) -> String {
    super::shown(&key.decode().unwrap_or_else(|| key.inner().into()))
}
