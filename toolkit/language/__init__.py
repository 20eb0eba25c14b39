"""What the faces say, in English and Japanese: a catalogue file for each."""
