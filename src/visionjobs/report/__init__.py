"""Result objects in, figures and one self-contained HTML file out."""
