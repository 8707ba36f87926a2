//! A tree of keys, as the nodes that are left of it.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

/// Levels below the root. With the shard that makes 48 bits: of ten million events, destroying one takes another along
/// with a chance of one in thirty million.
pub const PATH_BITS: u8 = 44;

/// Nodes of a tree, at most: sealed and in base64 they stay below the 1 MiB that Kafka takes by itself.
pub const NODES_MAX: usize = 16_000;

const SEED_LEN: usize = 32;
/// Depth, start and seed.
const NODE_LEN: usize = 1 + 6 + SEED_LEN;
const VERSION: u8 = 1;

type Seed = Zeroizing<[u8; SEED_LEN]>;

/// What keys are computed from.
pub struct Leaf(pub(crate) Seed);

/// See the crate.
pub struct Tree {
    /// By their place, none above another.
    nodes: Vec<Node>,
}

struct Node {
    /// The first path below it.
    start: u64,
    depth: u8,
    seed: Seed,
}

/// The random source failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random seed could be made")]
pub struct Random;

impl Tree {
    /// A whole one.
    pub fn generate() -> Result<Self, Random> {
        let mut seed = Seed::default();
        rand::fill(&mut seed[..]).map_err(|_| Random)?;
        Ok(Tree::of(seed))
    }

    fn of(seed: Seed) -> Self {
        let root = Node {
            start: 0,
            depth: 0,
            seed,
        };
        Tree { nodes: vec![root] }
    }

    /// The leaf at the end of a path; `None` when it was destroyed.
    pub fn leaf(&self, path: u64) -> Option<Leaf> {
        let node = &self.nodes[self.above(path)?];
        let mut seed = node.seed.clone();
        for depth in node.depth..PATH_BITS {
            seed = child(&seed, bit(path, depth));
        }
        Some(Leaf(seed))
    }

    /// Whether a leaf can be computed; costs nearly nothing.
    pub fn has(&self, path: u64) -> bool {
        self.above(path).is_some()
    }

    /// Destroys a leaf; says whether it was there. Nothing computes it again, from this tree or from any copy made after.
    pub fn puncture(&mut self, path: u64) -> bool {
        let Some(at) = self.above(path) else {
            return false;
        };
        let node = &self.nodes[at];
        let (mut seed, mut start) = (node.seed.clone(), node.start);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for depth in node.depth..PATH_BITS {
            let (bit, half) = (bit(path, depth), 1 << (PATH_BITS - depth - 1));
            let sibling = Node {
                start: if bit == 0 { start + half } else { start },
                depth: depth + 1,
                seed: child(&seed, 1 - bit),
            };
            match bit {
                0 => after.push(sibling),
                _ => {
                    before.push(sibling);
                    start += half;
                }
            }
            seed = child(&seed, bit);
        }
        self.nodes
            .splice(at..=at, before.into_iter().chain(after.into_iter().rev()));
        true
    }

    /// How many nodes are left of it: 1 of a whole one.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// To be kept sealed: it *is* the keys.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + self.nodes.len() * NODE_LEN));
        bytes.push(VERSION);
        for node in &self.nodes {
            bytes.push(node.depth);
            bytes.extend_from_slice(&node.start.to_be_bytes()[2..]);
            bytes.extend_from_slice(&node.seed[..]);
        }
        bytes
    }

    /// What [`Tree::to_bytes`] wrote; `None` when it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        if version != VERSION || !rest.len().is_multiple_of(NODE_LEN) {
            return None;
        }
        let mut nodes = Vec::with_capacity(rest.len() / NODE_LEN);
        let mut next = 0;
        for node in rest.chunks_exact(NODE_LEN) {
            let mut start = [0; 8];
            start[2..].copy_from_slice(&node[1..7]);
            let mut seed = Seed::default();
            seed.copy_from_slice(&node[7..]);
            let node = Node {
                start: u64::from_be_bytes(start),
                depth: node[0],
                seed,
            };
            let len = 1u64.checked_shl(u32::from(PATH_BITS.checked_sub(node.depth)?))?;
            if node.start < next || !node.start.is_multiple_of(len) {
                return None;
            }
            next = node.start + len;
            nodes.push(node);
        }
        (next <= 1 << PATH_BITS).then_some(Tree { nodes })
    }

    /// The node that a path goes through.
    fn above(&self, path: u64) -> Option<usize> {
        let after = self.nodes.partition_point(|node| node.start <= path);
        let at = after.checked_sub(1)?;
        let node = &self.nodes[at];
        (path - node.start < 1 << (PATH_BITS - node.depth)).then_some(at)
    }
}

/// The one-step key derivation of NIST SP 800-56C: a hash of the secret between a counter and what it is for. One block.
fn child(seed: &Seed, bit: u8) -> Seed {
    let mut context = Context::new(&SHA256);
    context.update(&[bit]);
    context.update(&seed[..]);
    context.update(b"pushrail.tree.v1");
    let mut child = Seed::default();
    child.copy_from_slice(context.finish().as_ref());
    child
}

fn bit(path: u64, depth: u8) -> u8 {
    (path >> (PATH_BITS - depth - 1)) as u8 & 1
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({} nodes)", self.nodes.len())
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leaf(***)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn tree() -> Tree {
        Tree::of(Seed::new([7; 32]))
    }

    fn path() -> impl Strategy<Value = u64> {
        // Neighbours, ends, and anywhere.
        prop_oneof![
            0u64..64,
            (1u64 << PATH_BITS) - 64..1 << PATH_BITS,
            0u64..1 << PATH_BITS
        ]
    }

    proptest! {
        #[test]
        fn what_is_destroyed_is_gone_and_everything_else_is_as_it_was(
            gone in prop::collection::vec(path(), 1..40),
            others in prop::collection::vec(path(), 1..40),
        ) {
            let (whole, mut tree) = (tree(), tree());
            let mut destroyed = HashSet::new();
            for path in &gone {
                prop_assert_eq!(tree.puncture(*path), destroyed.insert(*path));
                prop_assert!(!tree.has(*path));
            }
            let again = Tree::from_bytes(&tree.to_bytes()).unwrap();
            for path in gone.iter().chain(&others) {
                let expected = whole.leaf(*path).filter(|_| !destroyed.contains(path));
                let expected = expected.map(|leaf| *leaf.0);
                for tree in [&tree, &again] {
                    prop_assert_eq!(tree.leaf(*path).map(|leaf| *leaf.0), expected);
                    prop_assert_eq!(tree.has(*path), expected.is_some());
                }
            }
        }

        #[test]
        fn the_order_of_destruction_does_not_matter(gone in prop::collection::vec(path(), 1..20)) {
            let (mut forth, mut back) = (tree(), tree());
            for path in &gone {
                forth.puncture(*path);
            }
            for path in gone.iter().rev() {
                back.puncture(*path);
            }
            prop_assert_eq!(forth.to_bytes(), back.to_bytes());
        }

        #[test]
        fn garbage_is_no_tree_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), path in path()) {
            for bytes in [&bytes[..], &[&[VERSION], &bytes[..bytes.len() / NODE_LEN * NODE_LEN]].concat()] {
                if let Some(mut tree) = Tree::from_bytes(bytes) {
                    tree.leaf(path);
                    tree.puncture(path);
                }
            }
        }
    }

    /// Nothing that is left of a tree is above, or is, the leaf that was destroyed.
    #[test]
    fn no_node_above_a_destroyed_leaf_is_kept() {
        let mut tree = tree();
        let path = 0x0a5_5a5a_5a5a;
        let mut above = HashSet::new();
        let mut seed = Seed::new([7; 32]);
        above.insert(*seed);
        for depth in 0..PATH_BITS {
            seed = child(&seed, bit(path, depth));
            above.insert(*seed);
        }
        assert!(tree.puncture(path));
        assert_eq!(tree.nodes(), usize::from(PATH_BITS));
        assert!(tree.nodes.iter().all(|node| !above.contains(&*node.seed)));
        let kept = tree.to_bytes();
        let found = |seed: &[u8; 32]| kept.windows(32).any(|window| window == seed);
        assert!(!above.iter().any(found));
    }

    #[test]
    fn many_are_destroyed_at_the_cost_that_is_said() {
        let mut tree = tree();
        let mut path = 1u64;
        let mut gone = Vec::new();
        while tree.nodes() + usize::from(PATH_BITS) <= NODES_MAX {
            path = path.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            gone.push(path >> (64 - PATH_BITS));
            tree.puncture(path >> (64 - PATH_BITS));
        }
        assert!(gone.len() > 400, "{}", gone.len());
        assert!(gone.iter().all(|path| tree.leaf(*path).is_none()));
        assert!(tree.to_bytes().len() < 640 * 1024);
        assert!(tree.leaf(path >> (64 - PATH_BITS) ^ 1).is_some());
    }

    /// It never changes: what was sealed would not open. Computed by another implementation (Python's hashlib).
    #[test]
    fn a_leaf_is_what_it_always_was() {
        let leaf = tree().leaf(0x123_4567_89ab).unwrap();
        assert_eq!(leaf.0[..4], GOLDEN, "{:02x?}", &leaf.0[..4]);
    }

    const GOLDEN: [u8; 4] = [0x49, 0xe3, 0xf8, 0x99];
}
