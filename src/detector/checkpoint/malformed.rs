//! Tests of malformed and malicious files: each must end in one error, or in a correct checkpoint.

use proptest::prelude::*;

use super::import::{read_tensor, recognize};
use super::pickle::Pickle;
use super::source;
use super::*;

const ZIP: &[u8] = include_bytes!("../../../tests/checkpoints/zip.pth");
const LEGACY: &[u8] = include_bytes!("../../../tests/checkpoints/legacy.pth");
const LEGACY_TEXT: &[u8] = include_bytes!("../../../tests/checkpoints/legacy-protocol1.pth");

/// An import without output: parses, recognizes and reads the whole file. Returns the number of values.
fn read_all(file: &[u8]) -> Result<usize> {
    let recognized = recognize(source::parse(file)?.tensors, &crate::detector::network::ArchitectureHints::default())?;
    let mut values = 0;
    for (name, _) in recognized.architecture.expected() {
        values += read_tensor(&recognized.tensors, &name, file)?.len();
    }
    Ok(values)
}

/// The message of the error that `file` ends in.
fn error_of(file: &[u8]) -> String {
    let error = read_all(file).unwrap_err();
    assert_eq!(error.kind(), Kind::Data, "{}", error.chain());
    error.chain()
}

/// The state dict's pickle in the zip fixture.
fn state_pickle() -> &'static [u8] {
    let start = ZIP.windows(2).position(|bytes| bytes == [0x80, 2]).unwrap();
    let length = Pickle::load(&ZIP[start..]).unwrap().length;
    &ZIP[start..start + length]
}

/// The message of the error that a pickle ends in.
fn pickle_error(pickle: &[u8]) -> String {
    Pickle::load(pickle).unwrap_err().chain()
}

/// A legacy file around `object`, the state dict's pickle without PROTO; storages are f32.
fn legacy(object: &[u8], storages: &[(&str, &[f32])]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02".to_vec();
    file.extend(object);
    file.extend(b".\x80\x02](");
    for (key, _) in storages {
        file.extend(string(key));
    }
    file.extend(b"e.");
    for (_, values) in storages {
        file.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    }
    file
}

fn string(text: &str) -> Vec<u8> {
    let mut opcodes = vec![b'X'];
    opcodes.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    opcodes.extend(text.as_bytes());
    opcodes
}

fn integer(value: i64) -> Vec<u8> {
    let mut opcodes = vec![0x8a, 8];
    opcodes.extend(value.to_le_bytes());
    opcodes
}

fn integers(values: &[i64]) -> Vec<u8> {
    let mut opcodes = vec![b'('];
    values.iter().for_each(|&value| opcodes.extend(integer(value)));
    opcodes.push(b't');
    opcodes
}

/// Opcodes that build a tensor of shape and strides over storage "0" of `elements` f32.
fn tensor(elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let mut opcodes = b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    opcodes.extend(string("storage"));
    opcodes.extend(b"ctorch\nFloatStorage\n");
    opcodes.extend(string("0"));
    opcodes.extend(string("cpu"));
    opcodes.extend(integer(elements));
    opcodes.extend(b"NtQ");
    opcodes.extend(integer(offset));
    opcodes.extend(integers(shape));
    opcodes.extend(integers(strides));
    opcodes.extend(b"\x89NtR");
    opcodes
}

/// A file of one tensor "w" over four numbers.
fn one_tensor(elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let object = [b"}".as_slice(), &string("w"), &tensor(elements, offset, shape, strides), b"s"].concat();
    legacy(&object, &[("0", &[1.0, 2.0, 3.0, 4.0])])
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for file in [LEGACY, ZIP, LEGACY_TEXT] {
        assert!(read_all(file).is_ok());
        // Every length up to where storages begin, then every 64th: those differ only in how much is missing.
        for length in (0..file.len()).filter(|length| length % 64 == 0 || *length < 2048 || length + 2048 > file.len())
        {
            assert!(read_all(&file[..length]).is_err(), "{length} bytes");
        }
    }
    let pickle = state_pickle();
    for length in 0..pickle.len() {
        assert!(Pickle::load(&pickle[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn bytes_after_the_end_are_damage() {
    assert!(error_of(&[LEGACY, b"x"].concat()).contains("1 bytes follow the last storage"));
}

#[test]
fn a_checksum_that_fails_is_damage() {
    let mut file = ZIP.to_vec();
    // Storages are in the middle of the archive.
    let place = file.windows(5).position(|name| name == b"byteo").unwrap() / 2;
    file[place] ^= 0x40;
    assert!(error_of(&file).contains("zip"), "{}", error_of(&file));
}

#[test]
fn whatever_would_call_something_is_refused_by_name_and_place() {
    for (pickle, words) in [
        (&b"cos\nsystem\n(X\x02\x00\x00\x00lstR."[..], "pickle byte 0: global os.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "pickle byte 18: global builtins.eval"),
        (b"c__builtin__\nexec\n.", "global __builtin__.exec"),
        (b"ctorch\nload\n.", "global torch.load"),
        (b"ctorch.storage\n_load_from_bytes\n.", "global torch.storage._load_from_bytes"),
        (b"ccollections\nOrderedDict\n)\x81.", "pickle byte 26: opcode 0x81"),
        (b"(S'ls'\nios\nsystem\n.", "opcode 0x53"),
        (b"(X\x02\x00\x00\x00lsios\nsystem\n.", "opcode 0x69"),
        (b"(cos\n", "line without end"),
        (b"\x82\x01.", "opcode 0x82"),
        (b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f.", "opcode 0x96"),
        (b"X\x01\x00\x00\x00a)R.", "a call of a string"),
        (b"ctorch\nFloatStorage\n)R.", "a call of Storage(F32) with 0 arguments"),
        (b"N}b.", "state set on None"),
        (b"N.", ""),
    ] {
        if words.is_empty() {
            assert!(Pickle::load(pickle).is_ok());
        } else {
            assert!(pickle_error(pickle).contains(words), "{}", pickle_error(pickle));
        }
    }
    let long = [b"c", "x".repeat(100_000).as_bytes(), b"\ny\n."].concat();
    assert!(pickle_error(&long).len() < 500);
}

#[test]
fn false_lengths_allocate_nothing() {
    for pickle in [
        &b"X\xff\xff\xff\xffabc"[..],
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc",
        b"\x8b\xff\xff\xff\xff\x01",
        b"B\xff\xff\xff\x7f",
    ] {
        assert!(pickle_error(pickle).contains("the file is cut short or damaged"), "{}", pickle_error(pickle));
    }
    assert!(pickle_error(b"\x8a\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.").contains("more than 16 bytes"));
}

#[test]
fn the_number_of_values_is_limited_and_depth_is_not() {
    let count = 300_000;
    for flood in [b"N".as_slice(), b"(", b"]2", b"]q\x00h\x00"] {
        assert!(pickle_error(&flood.repeat(count)).contains("more than 262144 values"));
    }
    let deep = [b"]".repeat(100_000), b"a".repeat(99_999), b".".to_vec()].concat();
    drop(Pickle::load(&deep).unwrap());
    let nested = [b")".to_vec(), b"\x85".repeat(100_000), b".".to_vec()].concat();
    drop(Pickle::load(&nested).unwrap());
    // A list that contains itself.
    drop(Pickle::load(b"]q\x00h\x00a.").unwrap());
    let long = [b"\x8c\xff".to_vec(), vec![b'a'; 255], b"0".to_vec()].concat().repeat(80_000);
    assert!(pickle_error(&long).contains("more than 16777216 bytes"), "{}", pickle_error(&long));
}

#[test]
fn views_stay_inside_their_storage() {
    let source = source::parse(&one_tensor(4, 0, &[2, 2], &[1, 2])).unwrap();
    let file = one_tensor(4, 0, &[2, 2], &[1, 2]);
    assert_eq!(source.tensors["w"].read(&file).unwrap(), TensorData::F32(vec![1.0, 3.0, 2.0, 4.0]));
    for (offset, shape, strides, words) in [
        (0, [2, 3], [2, 1], "reaches past the 4 elements"),
        (3, [2, 1], [1, 1], "reaches past"),
        (0, [2, 1 << 40], [1 << 40, 1 << 40], "reaches past"),
        (-1, [2, 2], [2, 1], "a tensor's offset of -1"),
        (0, [-2, 2], [2, 1], "a shape of -2"),
        (0, [2, 2], [-2, 1], "strides of -2"),
        (0, [i64::MAX, 1], [1, 1], "a shape of 9223372036854775807"),
        (0, [1 << 20, 1 << 20], [0, 0], "view more than"),
        (0, [1 << 40, 1 << 40], [0, 0], "view more than"),
    ] {
        let text = error_of(&one_tensor(4, offset, &shape, &strides));
        assert!(text.contains(words), "{text}");
    }
    assert!(error_of(&one_tensor(4, 0, &[1; 9], &[1; 9])).contains("9 dimensions"));
    assert!(error_of(&one_tensor(4, 0, &[1, 1], &[1])).contains("2 dimensions with 1 strides"));
    assert!(error_of(&one_tensor(5, 0, &[1], &[1])).contains("has 4 elements; expected 5"));
    assert!(error_of(&one_tensor(1 << 40, 0, &[1], &[1])).contains("has 4 elements"));
}

#[test]
fn a_state_dict_is_a_dict_of_named_tensors() {
    let entry = |key: &[u8], value: &[u8]| legacy(&[b"}", key, value, b"s"].concat(), &[]);
    for (file, words) in [
        (legacy(b"]", &[]), "the file holds a list; expected a dict of tensors"),
        (legacy(b"}", &[]), "it holds no weights"),
        (entry(&string("w"), b"K\x01"), "entry \"w\" is an integer; expected a tensor"),
        (entry(b"K\x01", b"N"), "a key that is an integer"),
        (entry(&string("model"), b"]"), "entry \"model\" is a list"),
        (b"\x80\x02}.".to_vec(), "the magic number is a dict"),
        (b"hello".to_vec(), "starts with [68 65 6c 6c 6f]"),
        (Vec::new(), "it is 0 bytes long"),
        (b"PK\x03\x04".to_vec(), "the zip archive is cut short or damaged"),
    ] {
        assert!(error_of(&file).contains(words), "{}", error_of(&file));
    }
    let one = [string("w"), tensor(4, 0, &[4], &[1]), b"s".to_vec()].concat();
    let twice = legacy(&[b"}".as_slice(), &one, &one].concat(), &[("0", &[0.0; 4])]);
    assert!(error_of(&twice).contains("tensor w occurs twice"));
    assert!(error_of(&one_tensor(4, 0, &[4], &[1])).contains("none of its 1 tensors (w, …) is a Faster R-CNN's"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..6), which in 0..3usize) {
        let mut file = [ZIP, LEGACY, LEGACY_TEXT][which].to_vec();
        for (place, bits) in &flips {
            let place = place.index(file.len());
            file[place] ^= bits;
        }
        let _ = read_all(&file);
    }

    #[test]
    fn a_damaged_pickle_never_panics(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut pickle = state_pickle().to_vec();
        for (place, byte) in &flips {
            let place = place.index(pickle.len());
            pickle[place] = *byte;
        }
        let _ = read_all(&legacy(&pickle[2..pickle.len() - 1], &[]));
    }

    #[test]
    fn noise_is_no_pickle(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Pickle::load(&bytes);
        let _ = read_all(&bytes);
        let _ = Checkpoint::from_bytes(bytes);
    }

    #[test]
    fn opcodes_in_any_order_never_panic(
        picks in prop::collection::vec(prop::sample::select(b"()tlda]}eu012NQRbhjpqg\x85\x86\x87\x88\x89\x94K.".to_vec()), 0..300),
    ) {
        let _ = Pickle::load(&picks);
    }
}
