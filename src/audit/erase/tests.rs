//! What goes of lines, and that the rest of them and the chain stay.
