//! An HTTP server for boot images: few files, many machines at once, all of them in a hurry.
//!
//! Who may read what is the caller's to say.  It refuses every method but GET and HEAD, and decodes no path.
