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
    let hints = crate::detector::network::ArchitectureHints::default();
    let recognized = recognize(source::parse(file, None)?.tensors, &hints)?;
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
    // In place of the state dict: nothing is called, and the error names what would have been.
    for (object, words) in [
        (&b"cos\nsystem\n(X\x02\x00\x00\x00lstR"[..], "the result of os.system (pickle byte 2)"),
        (b"\x8c\x08builtins\x8c\x04eval\x93", "the result of builtins.eval (pickle byte 18)"),
        (b"c__builtin__\nexec\n", "the result of __builtin__.exec (pickle byte 2)"),
        (b"ctorch\nload\n)R", "the result of torch.load (pickle byte 2)"),
        (b"ctorch.storage\n_load_from_bytes\n(C\x01atR", "the result of torch.storage._load_from_bytes"),
        (b"(S'ls'\nios\nsystem\n", "the result of os.system (pickle byte 9)"),
        (b"(X\x02\x00\x00\x00lsios\nsystem\n", "the result of os.system"),
        (b"(cos\nsystem\nX\x02\x00\x00\x00lso", "the result of os.system"),
        (b"cargparse\nNamespace\n)\x81}b", "the result of argparse.Namespace"),
        (b"cos\nsystem\n)}\x92", "the result of os.system"),
        (b"ccopy_reg\n_reconstructor\n(cmain\nNet\nc__builtin__\nobject\nNtR}b", "the result of main.Net"),
        (b"cfunctools\npartial\n(cos\nsystem\ntR)R)R)R", "the result of functools.partial"),
        (b"ctorch\nFloatStorage\n)R", "a call of Storage(F32) with 0 arguments"),
        (b"X\x01\x00\x00\x00aQ", "a persistent id that is a string"),
        (b"Pstorage\n", "pickle protocol 0"),
    ] {
        let text = error_of(&legacy(object, &[]));
        assert!(text.contains("the file holds") && text.contains(words), "{text}");
    }
    // What no interpreter could read.
    for (pickle, words) in [
        (&b"(cos\n"[..], "line without end"),
        (b"\x82\x01.", "opcode 0x82"),
        (b"\x83\x01\x00.", "opcode 0x83"),
        (b"\x84\x01\x00\x00\x00.", "opcode 0x84"),
        (b"\xff.", "opcode 0xff"),
        (b"\x80\x06.", "pickle protocol 6"),
        (b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f.", "cut short"),
        (b"X\x01\x00\x00\x00a)R.", "a call of a string"),
        (b"N}b.", "state set on None"),
        (b"(o.", "an object without a class"),
        (b"S'a\n.", "a string without quotes"),
        (b"\x98.", "the top of an empty stack"),
        (b"NK\x01a.", "an append to None"),
        (b"]NNs.", "an item set on a list"),
        (b"](N\x90.", "an append to a list"),
        (b"I1x\n.", "an integer written as"),
        (b"N.", ""),
    ] {
        if words.is_empty() {
            assert!(Pickle::load(pickle).is_ok());
        } else {
            assert!(pickle_error(pickle).contains(words), "{}", pickle_error(pickle));
        }
    }
    let long = [b"c", "x".repeat(100_000).as_bytes(), b"\ny\n"].concat();
    assert!(error_of(&legacy(&long, &[])).len() < 500);
}

#[test]
fn a_call_beside_the_weights_is_warned_of_and_never_made() {
    let start = LEGACY.windows(12).position(|bytes| bytes == b"ccollections").unwrap();
    let object = Pickle::load(&LEGACY[start - 2..]).unwrap().length - 2;
    let call =
        [b"}".as_slice(), &string("a"), b"cposix\nsystem\n(", &string("reboot"), b"tRs", &string("model")].concat();
    let file = [&LEGACY[..start], &call, &LEGACY[start..start + object - 1], b"s.", &LEGACY[start + object..]].concat();
    let state_dict = source::parse(&file, None).unwrap();
    assert_eq!(state_dict.notes, ["the state dict was taken from key \"model\""]);
    assert!(state_dict.warnings[0].contains("names posix.system"), "{:?}", state_dict.warnings);
    assert_eq!(read_all(&file).unwrap(), read_all(LEGACY).unwrap());
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
    // Integers of any length stand beside weights, in states of random generators; none is a number of a tensor.
    let long = [b"}".as_slice(), &string("w"), b"\x8a\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaas"].concat();
    assert!(error_of(&legacy(&long, &[])).contains("entry \"w\" is an integer"));
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
    // Text is not copied, so its length has no limit: arrays are pickled as text.
    let long = [b"\x8c\xff".to_vec(), vec![b'a'; 255], b"0".to_vec()].concat().repeat(80_000);
    assert!(pickle_error(&long).contains("cut short"), "{}", pickle_error(&long));
    // One list given to many tuples and sets, and one that grows without end.
    let copies = [b"c__builtin__\nset\nq\x010](".to_vec(), b"N".repeat(100_000), b"eq\x000".to_vec()].concat();
    let copies = [copies, b"h\x01h\x00\x85R0".repeat(1000)].concat();
    assert!(pickle_error(&copies).contains("more than 4194304 values"), "{}", pickle_error(&copies));
    let endless =
        [b"]q\x00".to_vec(), [b"(".to_vec(), b"N".repeat(1000), b"e".to_vec()].concat().repeat(5000)].concat();
    assert!(pickle_error(&endless).contains("more than 4194304 values"));
    assert!(pickle_error(&b"]0".repeat(600_000)).contains("more than 524288 values"));
}

/// The message of the error that a legacy file with this object ends in, within a time that any machine keeps.
fn bounded_error(object: &[u8]) -> String {
    let start = std::time::Instant::now();
    let text = error_of(&legacy(object, &[]));
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    text
}

fn ends_in(object: &[u8], words: &str) {
    let text = bounded_error(object);
    assert!(text.contains(words), "{text}");
}

#[test]
fn the_search_ends_however_values_contain_each_other() {
    // A dict, a list and an object that contain themselves, and two that contain each other.
    for object in [
        [b"}q\x00".as_slice(), &string("a"), b"h\x00s"].concat(),
        [b"}q\x00".as_slice(), &string("a"), b"]q\x01h\x00ah\x01as"].concat(),
        [b"}".as_slice(), &string("a"), b"cm\nC\n)\x81q\x00}", &string("me"), b"h\x00sbs"].concat(),
        [b"}q\x00".as_slice(), &string("a"), b"}q\x01", &string("b"), b"h\x00ss"].concat(),
    ] {
        let text = bounded_error(&object);
        assert!(text.contains("entry \"a\" is"), "{text}");
    }
    // A list of ten lists of ten lists …, forty deep: 10^40 paths.
    let mut laughs = b"](NNNNNNNNNNeq\x00".to_vec();
    for depth in 1..40u8 {
        laughs.extend(*b"0](");
        laughs.extend([b'h', depth - 1].repeat(10));
        laughs.extend([b'e', b'q', depth]);
    }
    let object = [b"}".as_slice(), &string("a"), &laughs, b"s"].concat();
    ends_in(&object, "entry \"a\" is a list");
    // Deep nesting of dicts: deeper than the search goes, which is no error beside weights.
    let deep = [b"}".to_vec(), string("a")].concat();
    let object = [b"}".to_vec(), string("a"), deep.repeat(90_000), b"N".to_vec(), b"s".repeat(90_001)].concat();
    ends_in(&object, "entry \"a\" is a dict");
    // Many objects that share one state, and many modules that share their parts.
    let shared = [b"}q\x00(".to_vec(), [string("k"), b"]".to_vec()].concat().repeat(2000), b"u0".to_vec()].concat();
    let objects = [b"cm\nC\nq\x010](".to_vec(), b"h\x01)\x81h\x00b".repeat(20_000), b"e".to_vec()].concat();
    let object = [shared, b"}".to_vec(), string("a"), objects, b"s".to_vec()].concat();
    ends_in(&object, "entry \"a\" is a list");
    let parts = ["_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"].map(string);
    let [parameters, buffers, modules, transient] = parts.map(|key| [key, b"h\x00".to_vec()].concat());
    let state = [b"}(".to_vec(), parameters, buffers, modules, transient, b"u".to_vec()].concat();
    let object = [
        b"cm\nC\n)\x81".to_vec(),
        b"}q\x00".to_vec(),
        string("x"),
        b"Ns".to_vec(),
        b"0".to_vec(),
        state,
        b"b".to_vec(),
    ];
    let object = [b"}".to_vec(), string("a"), object.concat(), b"s".to_vec()].concat();
    ends_in(&object, "entry \"a\" is the result of m.C");
    // One dict under very many keys, and one tensor under very many names.
    let many = [
        b"]q\x000](".to_vec(),
        b"]".repeat(200_000),
        b"e".to_vec(),
        b"(".to_vec(),
        b"]".repeat(200_000),
        b"e".to_vec(),
    ];
    let object = [many.concat(), Vec::new()].concat();
    ends_in(&object, "more than 262144 dicts, lists and tensors");
    // Long keys on a long way, above many tensors.
    let key = string(&"k".repeat(500));
    let way = [b"}".to_vec(), key.clone()].concat().repeat(60);
    let inner = [b"}(".to_vec(), [string("w"), tensor(4, 0, &[4], &[1])].concat().repeat(2000), b"u".to_vec()].concat();
    let object = [way, inner, b"s".repeat(60)].concat();
    ends_in(&object, "tensor w");
    let name = string(&"backbone.rpn.roi_heads.".repeat(22));
    let inner = [b"}(".to_vec(), [name, tensor(4, 0, &[4], &[1])].concat().repeat(2000), b"u".to_vec()].concat();
    bounded_error(&inner);
}

#[test]
fn a_legacy_file_holds_classes_with_their_source() {
    let class = [
        b"(".to_vec(),
        string("module"),
        b"cmy\nNet\n".to_vec(),
        string("net.py"),
        string("class Net: ..."),
        b"tQ".to_vec(),
    ];
    let object = [class.concat(), b")\x81}b".to_vec()].concat();
    let text = error_of(&legacy(&object, &[]));
    assert!(text.contains("the file holds the result of my.Net"), "{text}");
}

#[test]
fn what_cannot_be_a_tensor_is_said_only_of_weights() {
    let weight = tensor(4, 0, &[4], &[1]);
    for (broken, words) in [
        ([weight.clone(), b"}b".to_vec()].concat(), "a tensor with a state of its own"),
        ([weight.clone(), b"(K\x01K\x02tb".to_vec()].concat(), "a tensor with a state of its own"),
        (
            [b"cmy\nrebuild\n(".to_vec(), weight.clone(), b"tR".to_vec()].concat(),
            "the result of my.rebuild (pickle byte",
        ),
        ([b"ctorch._utils\n_rebuild_parameter\n(cmy\nf\n)R\x89NtR".to_vec()].concat(), "a parameter made by my.f"),
        (
            [b"ctorch._tensor\n_rebuild_from_type_v2\n(cmy\nf\nctorch\nTensor\n)}tR".to_vec()].concat(),
            "a tensor made by my.f",
        ),
        (b"ctorch._utils\n_rebuild_tensor_v2\n(cmy\nf\n)RK\x00))\x89NtR".to_vec(), "a tensor on my.f"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n(Pid\nK\x00))\x89NtR".to_vec(), "pickle protocol 0"),
    ] {
        let name = string("backbone.body.conv1.weight");
        let object = [b"}".as_slice(), &name, &broken, b"s"].concat();
        let text = error_of(&legacy(&object, &[]));
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn views_stay_inside_their_storage() {
    let source = source::parse(&one_tensor(4, 0, &[2, 2], &[1, 2]), None).unwrap();
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
        picks in prop::collection::vec(prop::sample::select(b"()tlda]}eu012NQRbhjpqgosi\n\x81\x92\x8f\x90\x91\x97\x98\x85\x86\x87\x88\x89\x94K.".to_vec()), 0..300),
    ) {
        let _ = Pickle::load(&picks);
        // A class and a tensor on the stack and in the memo give the opcodes something to work on.
        let object = [b"cm\nC\nq\x00".as_slice(), &tensor(4, 0, &[4], &[1]), b"q\x01", &picks].concat();
        let _ = read_all(&legacy(&object, &[("0", &[0.0; 4])]));
    }
}
