"""What Streamlit runs for every visitor: the two pages. It stands alone in its folder, which goes onto ``sys.path``."""

import streamlit as st

from poise.app.pages import ICON, show_pages

st.set_page_config(page_title="poise", page_icon=str(ICON), layout="wide")
show_pages()
