"""A dress rehearsal: one stack's change, played in a rehearsed cloud that is thrown away afterwards."""
