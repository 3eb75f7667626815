//! The functions of libonnxruntime-genai that this plugin calls, with their C errors turned into `Result`s.
//! It owns the rules of that library: who destroys what, and that an error's text is copied before it is destroyed.
//! It must not know sessions, requests or the edgebench ABI.

use libloading::os::unix::Library;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{NonNull, null_mut};

/// An opaque object of the library, or its `OgaResult`.
type Ptr = *mut c_void;
type Destroy = unsafe extern "C" fn(Ptr);

/// `OgaElementType_float32`.
const FLOAT32: i32 = 1;

macro_rules! api {
    ($($name:ident: fn($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        /// The library's functions, by name. Those that return a `Ptr` return an `OgaResult`: NULL is success.
        /// The others must not throw, since a C++ exception cannot cross this boundary: only getters and destructors.
        #[allow(non_snake_case)]
        pub struct Api { $($name: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)* }

        impl Api {
            /// Looks all functions up.
            ///
            /// # Errors
            /// The name of one that is missing.
            ///
            /// # Safety
            /// `library` must be libonnxruntime-genai and stay loaded for ever.
            pub unsafe fn load(library: &Library) -> Result<Api, &'static str> {
                Ok(Api { $(
                    // SAFETY: the types are those of ort_genai_c.h 0.18.
                    $name: *unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }
                        .map_err(|_| stringify!($name))?,
                )* })
            }
        }
    };
}

api! {
    OgaResultGetError: fn(Ptr) -> *const c_char;
    OgaDestroyResult: fn(Ptr);
    OgaDestroyString: fn(Ptr);
    OgaCreateConfig: fn(*const c_char, *mut Ptr) -> Ptr;
    OgaDestroyConfig: fn(Ptr);
    OgaConfigClearProviders: fn(Ptr) -> Ptr;
    OgaConfigAppendProvider: fn(Ptr, *const c_char) -> Ptr;
    OgaConfigSetProviderOption: fn(Ptr, *const c_char, *const c_char, *const c_char) -> Ptr;
    OgaConfigOverlay: fn(Ptr, *const c_char) -> Ptr;
    OgaCreateModelFromConfig: fn(Ptr, *mut Ptr) -> Ptr;
    OgaDestroyModel: fn(Ptr);
    OgaCreateTokenizer: fn(Ptr, *mut Ptr) -> Ptr;
    OgaDestroyTokenizer: fn(Ptr);
    OgaUpdateTokenizerOptions: fn(Ptr, *const *const c_char, *const *const c_char, usize) -> Ptr;
    OgaTokenizerEncode: fn(Ptr, *const c_char, Ptr) -> Ptr;
    OgaTokenizerDecode: fn(Ptr, *const i32, usize, *mut Ptr) -> Ptr;
    OgaCreateSequences: fn(*mut Ptr) -> Ptr;
    OgaDestroySequences: fn(Ptr);
    OgaSequencesCount: fn(Ptr) -> usize;
    OgaSequencesGetSequenceCount: fn(Ptr, usize) -> usize;
    OgaSequencesGetSequenceData: fn(Ptr, usize) -> *const i32;
    OgaCreateGeneratorParams: fn(Ptr, *mut Ptr) -> Ptr;
    OgaDestroyGeneratorParams: fn(Ptr);
    OgaGeneratorParamsSetSearchNumber: fn(Ptr, *const c_char, f64) -> Ptr;
    OgaCreateGenerator: fn(Ptr, Ptr, *mut Ptr) -> Ptr;
    OgaDestroyGenerator: fn(Ptr);
    OgaGenerator_AppendTokens: fn(Ptr, *const i32, usize) -> Ptr;
    OgaGenerator_RewindTo: fn(Ptr, usize) -> Ptr;
    OgaGenerator_GetLogits: fn(Ptr, *mut Ptr) -> Ptr;
    OgaGenerator_GetOutput: fn(Ptr, *const c_char, *mut Ptr) -> Ptr;
    OgaGenerator_SetRuntimeOption: fn(Ptr, *const c_char, *const c_char) -> Ptr;
    OgaTensorGetType: fn(Ptr, *mut i32) -> Ptr;
    OgaTensorGetShapeRank: fn(Ptr, *mut usize) -> Ptr;
    OgaTensorGetShape: fn(Ptr, *mut i64, usize) -> Ptr;
    OgaTensorGetData: fn(Ptr, *mut Ptr) -> Ptr;
    OgaDestroyTensor: fn(Ptr);
}

/// What the library says went wrong.
pub type Outcome<T> = Result<T, String>;

/// An object of the library, destroyed on drop.
pub struct Object {
    ptr: NonNull<c_void>,
    destroy: Destroy,
}

impl Object {
    fn ptr(&self) -> Ptr {
        self.ptr.as_ptr()
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: made by the library, destroyed once, with the destructor of its kind.
        unsafe { (self.destroy)(self.ptr()) };
    }
}

/// C strings of ours: what comes from outside has been checked for NULs where that can be explained.
fn c_string(text: &str) -> Outcome<CString> {
    CString::new(text).map_err(|_| format!("a NUL inside {text:?}"))
}

impl Api {
    /// `Err` with the library's text, if there is a result.
    fn check(&self, result: Ptr) -> Outcome<()> {
        if result.is_null() {
            return Ok(());
        }
        // SAFETY: the result is not NULL; its text lives until it is destroyed and is copied before.
        let text = unsafe {
            let text = (self.OgaResultGetError)(result);
            let copy = if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() };
            (self.OgaDestroyResult)(result);
            copy
        };
        Err(text)
    }

    /// Runs a constructor: `body` gets where to store the object and returns the result.
    fn create(&self, destroy: Destroy, body: impl FnOnce(*mut Ptr) -> Ptr) -> Outcome<Object> {
        let mut ptr = null_mut();
        self.check(body(&mut ptr))?;
        let ptr = NonNull::new(ptr).ok_or("the library returned no object")?;
        Ok(Object { ptr, destroy })
    }

    /// Reads genai_config.json in `folder`.
    pub fn config(&self, folder: &CStr) -> Outcome<Object> {
        // SAFETY: a C string and a place for the object.
        self.create(self.OgaDestroyConfig, |out| unsafe { (self.OgaCreateConfig)(folder.as_ptr(), out) })
    }

    /// Makes `provider` the only one, with these options.
    pub fn use_provider(&self, config: &Object, provider: &str, options: &[(String, String)]) -> Outcome<()> {
        let name = c_string(provider)?;
        // SAFETY: the config is alive.
        self.check(unsafe { (self.OgaConfigClearProviders)(config.ptr()) })?;
        // SAFETY: as above, and a C string.
        self.check(unsafe { (self.OgaConfigAppendProvider)(config.ptr(), name.as_ptr()) })?;
        for (key, value) in options {
            let (key, value) = (c_string(key)?, c_string(value)?);
            // SAFETY: as above.
            self.check(unsafe {
                (self.OgaConfigSetProviderOption)(config.ptr(), name.as_ptr(), key.as_ptr(), value.as_ptr())
            })?;
        }
        Ok(())
    }

    /// Lays `json` over the configuration.
    pub fn overlay(&self, config: &Object, json: &str) -> Outcome<()> {
        let json = c_string(json)?;
        // SAFETY: the config is alive.
        self.check(unsafe { (self.OgaConfigOverlay)(config.ptr(), json.as_ptr()) })
    }

    /// Loads the model.
    pub fn model(&self, config: &Object) -> Outcome<Object> {
        // SAFETY: the config is alive; the model keeps its own copy.
        self.create(self.OgaDestroyModel, |out| unsafe { (self.OgaCreateModelFromConfig)(config.ptr(), out) })
    }

    /// Loads the tokenizer.
    pub fn tokenizer(&self, model: &Object) -> Outcome<Object> {
        // SAFETY: the model is alive.
        self.create(self.OgaDestroyTokenizer, |out| unsafe { (self.OgaCreateTokenizer)(model.ptr(), out) })
    }

    /// A generator for one sequence of up to `max_length` tokens.
    pub fn generator(&self, model: &Object, max_length: usize) -> Outcome<Object> {
        // SAFETY: the model is alive.
        let params = self.create(self.OgaDestroyGeneratorParams, |out| unsafe {
            (self.OgaCreateGeneratorParams)(model.ptr(), out)
        })?;
        // A model's own search settings must not decide the shapes.
        for (name, value) in [(c"max_length", max_length as f64), (c"batch_size", 1.0), (c"num_beams", 1.0)] {
            // SAFETY: the parameters are alive.
            self.check(unsafe { (self.OgaGeneratorParamsSetSearchNumber)(params.ptr(), name.as_ptr(), value) })?;
        }
        // SAFETY: both are alive; the generator shares the ownership of what it needs.
        self.create(self.OgaDestroyGenerator, |out| unsafe {
            (self.OgaCreateGenerator)(model.ptr(), params.ptr(), out)
        })
    }

    /// Switches a tokenizer option.
    pub fn set_tokenizer_option(&self, tokenizer: &Object, key: &CStr, value: bool) -> Outcome<()> {
        let value = if value { c"true" } else { c"false" };
        let (keys, values) = ([key.as_ptr()], [value.as_ptr()]);
        // SAFETY: arrays of one C string each.
        self.check(unsafe { (self.OgaUpdateTokenizerOptions)(tokenizer.ptr(), keys.as_ptr(), values.as_ptr(), 1) })
    }

    /// Appends the tokens of `text` to `out`.
    pub fn encode(&self, tokenizer: &Object, text: &CStr, out: &mut Vec<i32>) -> Outcome<()> {
        // SAFETY: a place for the object.
        let sequences = self.create(self.OgaDestroySequences, |out| unsafe { (self.OgaCreateSequences)(out) })?;
        // SAFETY: both are alive, and a C string.
        self.check(unsafe { (self.OgaTokenizerEncode)(tokenizer.ptr(), text.as_ptr(), sequences.ptr()) })?;
        // SAFETY: index 0 is only read if there is a sequence; its data lives as long as `sequences`.
        unsafe {
            if (self.OgaSequencesCount)(sequences.ptr()) > 0 {
                let n = (self.OgaSequencesGetSequenceCount)(sequences.ptr(), 0);
                let data = (self.OgaSequencesGetSequenceData)(sequences.ptr(), 0);
                if n > 0 && !data.is_null() {
                    out.extend_from_slice(std::slice::from_raw_parts(data, n));
                }
            }
        }
        Ok(())
    }

    /// The text of `tokens`. From the first byte on that is not UTF-8, all of it is one U+FFFD.
    pub fn decode(&self, tokenizer: &Object, tokens: &[i32]) -> Outcome<Text> {
        if tokens.is_empty() {
            return Ok(Text(None));
        }
        // SAFETY: a slice of the length that is passed.
        let text = self.create(self.OgaDestroyString, |out| unsafe {
            (self.OgaTokenizerDecode)(tokenizer.ptr(), tokens.as_ptr(), tokens.len(), out)
        })?;
        Ok(Text(Some(text)))
    }

    /// Evaluates tokens after those that the generator holds.
    pub fn append(&self, generator: &Object, tokens: &[i32]) -> Outcome<()> {
        // SAFETY: a slice of the length that is passed.
        self.check(unsafe { (self.OgaGenerator_AppendTokens)(generator.ptr(), tokens.as_ptr(), tokens.len()) })
    }

    /// Forgets all but the first `length` tokens. Only [`Api::append`] may follow: logits would be wrong.
    pub fn rewind(&self, generator: &Object, length: usize) -> Outcome<()> {
        // SAFETY: the generator is alive.
        self.check(unsafe { (self.OgaGenerator_RewindTo)(generator.ptr(), length) })
    }

    /// Logits after the last token, whatever the model's own output type is.
    pub fn last_logits(&self, generator: &Object) -> Outcome<Logits> {
        // SAFETY: the generator is alive.
        let tensor =
            self.create(self.OgaDestroyTensor, |out| unsafe { (self.OgaGenerator_GetLogits)(generator.ptr(), out) })?;
        self.logits(tensor)?.ok_or_else(|| "logits that are not fp32".to_owned())
    }

    /// Logits of all tokens of the last append; `None` if the model does not give them in fp32.
    pub fn all_logits(&self, generator: &Object, name: &CStr) -> Outcome<Option<Logits>> {
        // SAFETY: the generator is alive, and a C string.
        let tensor = self.create(self.OgaDestroyTensor, |out| unsafe {
            (self.OgaGenerator_GetOutput)(generator.ptr(), name.as_ptr(), out)
        })?;
        self.logits(tensor)
    }

    fn logits(&self, tensor: Object) -> Outcome<Option<Logits>> {
        let mut kind = 0;
        // SAFETY: the tensor is alive; so below.
        self.check(unsafe { (self.OgaTensorGetType)(tensor.ptr(), &mut kind) })?;
        if kind != FLOAT32 {
            return Ok(None);
        }
        let mut rank = 0;
        // SAFETY: as above.
        self.check(unsafe { (self.OgaTensorGetShapeRank)(tensor.ptr(), &mut rank) })?;
        let mut shape = [0i64; 3];
        if rank != shape.len() {
            return Err(format!("logits of rank {rank} instead of 3"));
        }
        // SAFETY: as above, and room for the rank.
        self.check(unsafe { (self.OgaTensorGetShape)(tensor.ptr(), shape.as_mut_ptr(), rank) })?;
        let mut data = null_mut();
        // SAFETY: as above.
        self.check(unsafe { (self.OgaTensorGetData)(tensor.ptr(), &mut data) })?;
        let [batch, rows, width] = shape.map(|n| usize::try_from(n).unwrap_or(0));
        match NonNull::new(data.cast::<f32>()) {
            Some(data) if batch == 1 && rows > 0 && width > 0 => {
                Ok(Some(Logits { _tensor: tensor, data, rows, width }))
            }
            _ => Err(format!("logits of shape {shape:?}")),
        }
    }

    /// Makes [`Api::append`] fail soon, also one that is running on another thread, until it is set back.
    ///
    /// # Safety
    /// `generator` must be alive.
    unsafe fn terminate(&self, generator: NonNull<c_void>, on: bool) -> Outcome<()> {
        let value = if on { c"1" } else { c"0" };
        // SAFETY: passed on to the caller; the option is a pair of flags that runs only read.
        self.check(unsafe {
            (self.OgaGenerator_SetRuntimeOption)(generator.as_ptr(), c"terminate_session".as_ptr(), value.as_ptr())
        })
    }
}

/// Decoded text, up to its first NUL.
pub struct Text(Option<Object>);

impl Text {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the library's own NUL-terminated string, alive as long as `self`.
        self.0.as_ref().map_or(&[], |text| unsafe { CStr::from_ptr(text.ptr().cast()) }.to_bytes())
    }
}

/// A matrix of logits, a row for each position.
pub struct Logits {
    _tensor: Object,
    data: NonNull<f32>,
    /// Positions.
    pub rows: usize,
    /// Entries of the vocabulary.
    pub width: usize,
}

impl Logits {
    /// The logits of a position, from 0.
    pub fn row(&self, index: usize) -> &[f32] {
        assert!(index < self.rows);
        // SAFETY: the tensor holds rows × width numbers and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr().add(index * self.width), self.width) }
    }
}

/// The one thing that another thread may do to a generator. It must not outlive the generator.
pub struct Brake {
    api: &'static Api,
    generator: NonNull<c_void>,
}

// SAFETY: SetRuntimeOption is made to be called while another thread runs the model.
unsafe impl Send for Brake {}

impl Brake {
    /// # Safety
    /// The brake must be dropped before the generator.
    pub unsafe fn new(api: &'static Api, generator: &Object) -> Brake {
        Brake { api, generator: generator.ptr }
    }

    /// Pulls or releases it.
    pub fn set(&self, on: bool) -> Outcome<()> {
        // SAFETY: the caller of `new` vouches for the generator.
        unsafe { self.api.terminate(self.generator, on) }
    }
}
